// What the voter can be shown, and everything outside that the way there needs.

import type { Ballot } from "./ballot.ts";
import type { Clock } from "./clock.ts";
import type { Code, CodeMistyped } from "./code.ts";
import type { Signer } from "./credential.ts";
import type { Answers } from "./answers.ts";
import type { Bytes } from "./encoding.ts";
import type { Chosen, Fields, Slip } from "./fields.ts";
import type { Memory } from "./memory.ts";
import type { Places } from "./places.ts";
import type { SealedVote } from "./sealing.ts";
import type { Progress } from "./sending.ts";
import type { Received, Refusal, Server } from "./server.ts";

/** The start: what is known of the code, and of asking whether it would be taken. */
export interface Start {
  is: "start";
  /** Whether a code is held already: from the link, or typed before. */
  held: boolean;
  slip: CodeMistyped | null;
  /** What was typed with that slip: on the screen alone, never kept. */
  typed: string;
  /** `asking` now; `unsure`: no answer, the voter may go on; `early`: the ballot opens at `opens`. */
  access: "idle" | "asking" | "unsure" | "early";
  opens: string | null;
}

/** One question and what stands in its form. */
export interface Asked {
  is: "question";
  index: number;
  chosen: Chosen;
  slips: readonly Slip[];
}

/** Every answer, before Submit. */
export interface Check {
  is: "check";
  fields: Fields;
}

/** On its way; without `progress` it is still being sealed. */
export interface OnItsWay {
  is: "sending";
  progress: Progress | null;
  /** Whether a page that is loaded again would go on sending. */
  kept: boolean;
}

/** Answered with a receipt about this vote that is not signed by the pinned key; the vote is sent again, slowly. */
export interface Unconfirmed {
  is: "unconfirmed";
  receipt: Received;
  progress: Progress;
  kept: boolean;
}

/** Received: the receipt is signed by the pinned key and about this vote. */
export interface Done {
  is: "done";
  receipt: Received;
}

/** A vote was submitted here, and nothing more is known of it: it may have been received. */
export interface Submitted {
  is: "submitted";
}

/** Refused for good. `sent`: whether it was a vote; else it was the code, or the ballot is closed. */
export interface Refused {
  is: "refused";
  refusal: Refusal;
  sent: boolean;
}

/** Of a ballot that closed before anything was sent. */
export function tooLate(closes: string): Refused {
  return { is: "refused", refusal: { name: "not_open", closes, early: false }, sent: false };
}

/** Nothing can be sent: the page, the ballot or the device is not fit for it. */
export interface Stopped {
  is: "stopped";
  why: "page" | "ballot" | "device";
}

/** How a voter's way ended. */
export type Ending = Done | Refused | Submitted;

export type Screen = Start | Asked | Check | OnItsWay | Unconfirmed | Ending | Stopped;

/** The cryptography, as the modules of those names have it. */
export interface Cryptography {
  seedOf(code: Code, ballot: string): Promise<Bytes>;
  signer(seed: Bytes): Promise<Signer>;
  seal(ballot: Ballot, signer: Signer, answers: Answers): Promise<SealedVote>;
  /** Throws unless the receipt is true. */
  verifyReceipt(receipt: Received, sealedSha256: string): Promise<unknown>;
}

/** Everything outside. */
export interface World {
  ballot: Ballot;
  /** When the ballot closed, if it was closed when the page was made. */
  closed: string | null;
  crypto: Cryptography;
  memory: Memory;
  server: Server;
  places: Places;
  clock: Clock;
  random: () => number;
  show: (screen: Screen) => void;
}
