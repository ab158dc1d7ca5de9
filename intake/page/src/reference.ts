// A reference number as people type it, and what the server knows of it. Whoever types an access code instead is told
// so here, on the device: it is not sent.

import { grouped, read } from "./code.ts";
import { ask, type Line, member } from "./server.ts";

const REFERENCE_SYMBOLS = 16;
const CODE_SYMBOLS = 20;
const COMPLAINT_SYMBOLS = 12;

/** What is wrong with what was typed. */
export type ReferenceSlip = "empty" | "code" | "complaint" | "symbols" | "length";

export type Typed =
  { is: "reference"; reference: string } | { is: "slip"; slip: ReferenceSlip; count: number };

/** The reference in `typed`, in any case and grouping, or what is wrong with it. */
export function referenceIn(typed: string): Typed {
  const { symbols, unknown } = read(typed);
  const count = symbols.length + unknown;
  const slip = (found: ReferenceSlip): Typed => ({ is: "slip", slip: found, count });
  if (count === 0) return slip("empty");
  if (count === CODE_SYMBOLS) return slip("code");
  if (unknown > 0) return slip("symbols");
  if (count === COMPLAINT_SYMBOLS) return slip("complaint");
  if (count !== REFERENCE_SYMBOLS) return slip("length");
  return { is: "reference", reference: grouped(symbols) };
}

/** What the server knows of a reference; `unreachable` tells nothing about the vote. */
export const STANDINGS = ["accepted", "stored", "held", "unknown", "unreachable"] as const;
export type Standing = (typeof STANDINGS)[number];

export const STANDING_MILLISECONDS = 10_000;
/** Lost connections are common and the voter is waiting: asked this often before it is said. */
export const STANDING_TRIES = 2;

/** Asks how the vote `reference` of `ballot` stands. Only our own server's words count. */
export async function standing(ballot: string, reference: string, line: Line): Promise<Standing> {
  for (let tries = 0; tries < STANDING_TRIES; tries += 1) {
    const url = `/api/v1/ballots/${ballot}/receipts/${reference}`;
    const answer = await ask(line, url, null, STANDING_MILLISECONDS);
    if ("is" in answer) continue;
    if (answer.status === 404 && member(answer.value, "error") === "not_found") return "unknown";
    const state = answer.status === 200 ? member(answer.value, "state") : undefined;
    if (state === "accepted" || state === "stored" || state === "held") return state;
    if (answer.retryAfter > 0) break;
  }
  return "unreachable";
}
