// Where the voter is, in the browser's history: a step's number or, at the end, the receipt. Never a choice or a code.

import type { Kept } from "./memory.ts";
import type { Done, Ending, Screen } from "./screen.ts";
import { received } from "./server.ts";

/**
 * One entry of the history. Steps: 0 the start, then the questions, then the check. `sent` stays for as long as the
 * history does: nothing that is known later can say that no vote was submitted there.
 */
export type Place =
  { at: "step"; step: number; changing: boolean } | { at: "sent" } | { at: "done"; end: Done };

/** The browser's history, so far as it is used. */
export interface Places {
  /** Goes on to `place`: Back leads to where the voter was. */
  push(place: Place): void;
  /** Says that where the voter is, is `place`. */
  replace(place: Place): void;
}

/** The place in `state`, if this page wrote it. */
export function placeIn(state: unknown): Place | null {
  if (typeof state !== "object" || state === null || !("at" in state)) return null;
  if (state.at === "sent") return { at: "sent" };
  if (state.at === "step" && "step" in state && Number.isInteger(state.step)) {
    return {
      at: "step",
      step: state.step as number,
      changing: "changing" in state && state.changing === true,
    };
  }
  const end = state.at === "done" && "end" in state ? doneIn(state.end) : null;
  return end && { at: "done", end };
}

/** How the voter's way ended, if it did: carried into another language, or in the history and nothing begun since. */
export function endOf(kept: Kept | null, place: Place | null): Ending | null {
  if (kept?.is === "ended") return kept.end;
  if (kept !== null || place === null || place.at === "step") return null;
  return place.at === "done" ? place.end : { is: "submitted" };
}

/** Whether `screen` is one with which a voter's way ends. */
export function isEnding(screen: Screen): screen is Ending {
  return screen.is === "done" || screen.is === "refused" || screen.is === "submitted";
}

/** Where in the history `screen` is from Submit on, and where a refused code is; null before. */
export function placeOf(screen: Screen): Place | null {
  switch (screen.is) {
    case "done":
      return { at: "done", end: screen };
    case "refused":
      return screen.sent ? { at: "sent" } : { at: "step", step: 0, changing: false };
    case "sending":
    case "unconfirmed":
    case "submitted":
      return { at: "sent" };
    default:
      return null;
  }
}

/** The last screen in `value`, if it is one. */
export function doneIn(value: unknown): Done | null {
  if (typeof value !== "object" || value === null || !("receipt" in value)) return null;
  const receipt = received(value.receipt);
  return receipt && { is: "done", receipt };
}
