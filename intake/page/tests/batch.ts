// The page's own modules as a process: reads a batch of work as JSON, writes what became of each piece.
//
// tests/integration/test_page_sealing.py gives the work and checks with ballot/ and tally/ what comes back.

import { readFileSync } from "node:fs";
import { plaintext } from "../src/answers.ts";
import type { Answers } from "../src/answers.ts";
import { openDocument } from "../src/ballot.ts";
import { Code } from "../src/code.ts";
import { sealComplaint } from "../src/complaint.ts";
import type { Complaint } from "../src/complaint.ts";
import { seedOf, signer } from "../src/credential.ts";
import { fromB64url, fromUtf8, Malformed, Untrue, utf8 } from "../src/encoding.ts";
import { verifyReceipt } from "../src/receipt.ts";
import { seal } from "../src/sealing.ts";

interface Work {
  desk_key: string;
  documents?: {
    canonical: string;
    signature: string;
    answers: Answers[];
    votes: { code: string; answers: Answers }[];
  }[];
  receipts?: { text: string; ballot: string; sealed_sha256: string; key: string }[];
  complaints?: { written: Complaint; key: unknown; ballot: string | null }[];
}

type Outcome<Good> = { good: Good } | { refused: string };

/** What `act` gives, or the name of its refusal; any other error is a fault of the page. */
async function outcome<Good>(act: () => Promise<Good> | Good): Promise<Outcome<Good>> {
  try {
    return { good: await act() };
  } catch (error) {
    if (error instanceof Malformed || error instanceof Untrue) return { refused: error.name };
    throw error;
  }
}

/** Every piece of `items` through `act`, one after the other. */
async function each<Item, Good>(
  items: Item[] = [],
  act: (item: Item) => Promise<Good>,
): Promise<Outcome<Good>[]> {
  const outcomes: Outcome<Good>[] = [];
  for (const item of items) outcomes.push(await outcome(() => act(item)));
  return outcomes;
}

const work = JSON.parse(readFileSync(0, "utf8")) as Work;
const deskKey = fromB64url(work.desk_key);

const documents = await each(work.documents, async ({ canonical, signature, answers, votes }) => {
  const ballot = await openDocument(utf8(canonical), fromB64url(signature), deskKey);
  return {
    definition_sha256: ballot.definitionSha256,
    padded_size: ballot.paddedSize,
    plaintexts: await each(answers, async (chosen) => fromUtf8(plaintext(ballot.questions, chosen))),
    votes: await each(votes, async ({ code, answers: chosen }) => {
      const voter = await signer(await seedOf(Code.parse(code), ballot.id));
      return seal(ballot, voter, chosen);
    }),
  };
});

const receipts = await each(work.receipts, async ({ text, ballot, sealed_sha256: sealedSha256, key }) => {
  return (await verifyReceipt(parsed(text), { ballot, sealedSha256, receiptsKey: fromB64url(key) }))
    .reference;
});

const complaints = await each(work.complaints, async ({ written, key, ballot }) => {
  return (await sealComplaint(written, key, deskKey, ballot)).body;
});

process.stdout.write(JSON.stringify({ documents, receipts, complaints }));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Malformed("This is not JSON.");
  }
}
