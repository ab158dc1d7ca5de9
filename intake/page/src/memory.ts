// What the page remembers through a reload: the key's seed and the answers until Submit, and from then on only the
// sealed request. It is kept for this tab alone (sessionStorage), and forgotten with the receipt or a final refusal.
//
// Where the browser refuses to store anything, the page works all the same and only a reload loses what was entered.

import type { Fields } from "./fields.ts";
import { doneIn } from "./places.ts";
import type { Ending } from "./screen.ts";
import { FINAL, type Refusal } from "./server.ts";

/** Before Submit. */
export interface Answering {
  is: "answering";
  /** The seed of the voter's signing key, base64url. */
  seed: string;
  fields: Fields;
  /** Where the voter is: 0 the start, then the questions, then the check. */
  step: number;
  /** How far the voter may go: a question not reached yet has not been left blank. */
  reached: number;
}

/** From Submit to the receipt. */
export interface Sealed {
  is: "sealed";
  body: string;
  sealedSha256: string;
}

/** How it ended: only from the press on a language's link until the page is there in that language. */
export interface Ended {
  is: "ended";
  end: Ending;
}

/** What is remembered. */
export type Kept = Answering | Sealed | Ended;

/** One ballot's memory. */
export interface Memory {
  read(): Kept | null;
  /** Whether it would be there after a reload. */
  keep(kept: Kept): boolean;
  forget(): void;
}

/** The memory of `ballot` in what `storage` gives, which may throw, as may everything done with it. */
export function memory(ballot: string, storage: () => Storage): Memory {
  const key = `ballot/${ballot}`;
  let refused: Kept | null = null;
  return {
    read() {
      if (refused !== null) return refused;
      try {
        const text = storage().getItem(key);
        return text === null ? null : understood(JSON.parse(text));
      } catch {
        return null;
      }
    },
    keep(kept) {
      try {
        storage().setItem(key, JSON.stringify(kept));
        refused = null;
        return true;
      } catch {
        drop(storage, key); // an older entry would come back with a reload: answers after Submit
        refused = kept;
        return false;
      }
    },
    forget() {
      refused = null;
      drop(storage, key);
    },
  };
}

function drop(storage: () => Storage, key: string): void {
  try {
    storage().removeItem(key);
  } catch {
    // Storage that refuses this has kept nothing either.
  }
}

/** `value` if this version of the page wrote it. */
function understood(value: unknown): Kept | null {
  if (!isRecord(value)) return null;
  const { is, seed, fields, step, reached, body, sealedSha256, end } = value;
  if (is === "ended") return endIn(end);
  if (is === "sealed" && typeof body === "string" && typeof sealedSha256 === "string") {
    return { is, body, sealedSha256 };
  }
  if (is !== "answering" || typeof seed !== "string" || !isStep(step) || !isStep(reached)) return null;
  return isFields(fields) ? { is, seed, fields, step, reached } : null;
}

function endIn(value: unknown): Ended | null {
  if (!isRecord(value)) return null;
  const done = doneIn(value);
  if (done !== null) return { is: "ended", end: done };
  const { is, refusal, sent } = value;
  if (is === "submitted") return { is: "ended", end: { is } };
  if (is !== "refused" || !isRecord(refusal) || typeof sent !== "boolean") return null;
  const name = FINAL.find((final) => final === refusal["name"]);
  if (name === undefined) return null;
  const { opens, closes, early } = refusal;
  const understoodRefusal: Refusal = { name };
  if (typeof opens === "string") understoodRefusal.opens = opens;
  if (typeof closes === "string") understoodRefusal.closes = closes;
  if (typeof early === "boolean") understoodRefusal.early = early;
  return { is: "ended", end: { is, refusal: understoodRefusal, sent } };
}

function isStep(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isFields(value: unknown): value is Fields {
  return (
    isRecord(value) &&
    Object.values(value).every(
      (chosen) => isRecord(chosen) && Object.values(chosen).every((entry) => typeof entry === "string"),
    )
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
