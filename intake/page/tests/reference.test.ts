import assert from "node:assert/strict";
import { test } from "node:test";
import { referenceIn, type Standing, standing, STANDING_TRIES } from "../src/reference.ts";
import { SteppedClock } from "./stepped.ts";

const REFERENCE = "1A2B-3C4D-5E6F-7G8H";

test("a reference is read in any case and grouping, and with look-alike letters", () => {
  for (const typed of [
    REFERENCE,
    "1a2b3c4d5e6f7g8h",
    " 1A2B 3C4D 5E6F 7G8H ",
    "IA2B–3C4D–5E6F–7G8H",
    "la2b-3c4d 5e6f-7g8h\n",
  ]) {
    assert.deepEqual(referenceIn(typed), { is: "reference", reference: REFERENCE }, typed);
  }
  assert.deepEqual(referenceIn("oooo-oooo-oooo-oooo"), { is: "reference", reference: "0000-0000-0000-0000" });
});

test("a slip is told by what it is: nothing, a code, a complaint's number, a letter that never occurs, a wrong length", () => {
  const slips = {
    "": "empty",
    " - ": "empty",
    "1A2B-3C4D-5E6F-7G8": "length",
    "1A2B-3C4D-5E6F-7G8H-9": "length",
    "1A2B-3C4D-5E6F-7G8U": "symbols",
    "1A2B-3C4D-5E6F": "complaint",
    "H55F-HHY7-01PH-ZGWX-T1KZ": "code",
    "H55F-HHY7-01PH-ZGWX-T1KU": "code",
  };
  for (const [typed, slip] of Object.entries(slips)) {
    const found = referenceIn(typed);
    assert.equal(found.is === "slip" && found.slip, slip, typed);
  }
});

/** What is told when the server answers thus, and how often it was asked. */
async function told(answer: () => Response): Promise<[Standing, string[]]> {
  const asked: string[] = [];
  const fetch = async (url: string, request: RequestInit): Promise<Response> => {
    asked.push(`${request.method ?? "GET"} ${url}`);
    assert.equal(request.body, undefined);
    return answer();
  };
  return [await standing("tube-2025", REFERENCE, { fetch, clock: new SteppedClock() }), asked];
}

const json = (value: unknown, status = 200, headers: Record<string, string> = {}): (() => Response) => {
  return () => new Response(JSON.stringify(value), { status, headers });
};

test("the three states are told as the server has them, and asked for once", async () => {
  for (const state of ["accepted", "stored", "held"] as const) {
    const [known, asked] = await told(json({ state }));
    assert.equal(known, state);
    assert.deepEqual(asked, [`GET /api/v1/ballots/tube-2025/receipts/${REFERENCE}`]);
  }
});

test("a vote is unknown only in our server's words", async () => {
  assert.equal((await told(json({ error: "not_found", message: "…", retry: false }, 404)))[0], "unknown");
  assert.equal((await told(() => new Response("<h1>Wi-Fi login</h1>", { status: 404 })))[0], "unreachable");
  assert.equal((await told(() => new Response("<h1>Wi-Fi login</h1>")))[0], "unreachable");
  assert.equal((await told(json({ state: "burnt" })))[0], "unreachable");
});

test("a lost connection is tried again before anything is said; a server that asks for time is left alone", async () => {
  const [lost, tries] = await told(() => {
    throw new TypeError("lost");
  });
  assert.equal(lost, "unreachable");
  assert.equal(tries.length, STANDING_TRIES);
  const [busy, once] = await told(json({ error: "not_confirmed", retry: true }, 503, { "Retry-After": "2" }));
  assert.equal(busy, "unreachable");
  assert.equal(once.length, 1);
});
