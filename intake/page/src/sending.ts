// Sends one sealed vote until it is received or finally refused: the identical request, one at a time, for as long as
// it takes. It cannot count twice, so a request whose answer was lost is simply made again.

import type { Clock } from "./clock.ts";
import type { Again, Cause, Received, Refusal, RefusalName } from "./server.ts";

/** The first delay is at most this long … */
export const DELAY_MILLISECONDS_MIN = 1_000;
/** … and no later one is longer, unless the server asks for it. */
export const DELAY_MILLISECONDS_MAX = 30_000;

/** What waiting cannot mend is not hurried: the next try is made after this long, or half of it. */
export const SLOW_MILLISECONDS = 60_000;

/** Refusals that are true even if an earlier try was received: the same vote again is answered with its receipt. */
const DECIDED: readonly RefusalName[] = ["not_accepted", "not_open"];

/** How far the sending is: on its way, or waiting to be sent again, and why. */
export interface Progress {
  is: "trying" | "waiting";
  /** Tries that were begun since the page was loaded. */
  tries: number;
  /** What became of the last try; null before the first has failed. */
  cause: Cause | null;
}

/** How it ended. */
export type End<Receipt = Received> =
  { is: "received"; receipt: Receipt } | { is: "refused"; refusal: Refusal };

/** What the sending needs of the world. */
export interface Means<Receipt = Received> {
  cast: (
    body: string,
  ) => Promise<{ is: "receipt"; receipt: Receipt } | { is: "refused"; refusal: Refusal } | Again>;
  clock: Clock;
  /** From 0 to 1, as Math.random. */
  random: () => number;
}

/**
 * The sending of one request: of a vote, or of whatever else is answered with a `Receipt`.
 *
 * Once a try has ended without a clear answer it may have been received, so that a later refusal of the request's form
 * says nothing about it: whatever altered that try on its way may not alter the next.
 */
export class Sending<Receipt = Received> {
  readonly #means: Means<Receipt>;
  readonly #body: string;
  readonly #told: (progress: Progress) => void;
  readonly #ended: (end: End<Receipt>) => void;
  #state: "idle" | "trying" | "waiting" | "ended" = "idle";
  #tries = 0;
  #failures = 0;
  #cause: Cause | null = null;
  /** How long the server asked to be left alone, and from when on (as the clock's `elapsed` counts). */
  #asked = { milliseconds: 0, from: 0 };
  /** Whether a try may have been received without our knowing. */
  #open: boolean;
  #cancel: () => void = () => undefined;

  constructor(
    body: string,
    means: Means<Receipt>,
    listener: { told: (progress: Progress) => void; ended: (end: End<Receipt>) => void },
    /** Whether tries were made before, of which nothing is known. */
    resumed = false,
  ) {
    this.#open = resumed;
    this.#body = body;
    this.#means = means;
    this.#told = listener.told;
    this.#ended = listener.ended;
  }

  /** Begins; a second call changes nothing. */
  start(): void {
    if (this.#state === "idle") void this.#try();
  }

  /** The voter asks for a try now: it is made at once, unless one is under way. */
  tryNow(): void {
    if (this.#state === "waiting") void this.#try();
  }

  /** The device is connected again: tried at once, but not sooner than the server has asked for. */
  online(): void {
    if (this.#state !== "waiting") return;
    const { milliseconds, from } = this.#asked;
    const wait = Math.min(milliseconds - (this.#means.clock.elapsed() - from), milliseconds);
    if (wait > 0) this.#wait(wait);
    else void this.#try();
  }

  async #try(): Promise<void> {
    this.#cancel();
    this.#state = "trying";
    this.#tries += 1;
    this.#tell("trying");
    const outcome = await this.#means.cast(this.#body);
    switch (outcome.is) {
      case "receipt":
        this.#state = "ended";
        return this.#ended({ is: "received", receipt: outcome.receipt });
      case "refused":
        if (this.#open && !DECIDED.includes(outcome.refusal.name)) return this.#again("unclear", 0);
        this.#state = "ended";
        return this.#ended({ is: "refused", refusal: outcome.refusal });
      case "again":
        this.#open = true;
        return this.#again(outcome.cause, outcome.retryAfter);
    }
  }

  #again(cause: Cause, asked: number): void {
    this.#cause = cause;
    this.#asked = { milliseconds: asked, from: this.#means.clock.elapsed() };
    const slow = cause === "unclear" || cause === "unconfirmed";
    this.#wait(Math.max(asked, slow ? this.#slowly() : this.#delay()));
    this.#tell("waiting");
  }

  #wait(milliseconds: number): void {
    this.#cancel();
    this.#state = "waiting";
    this.#cancel = this.#means.clock.after(milliseconds, () => void this.#try());
  }

  /** Anywhere below a bound that doubles: devices that failed together do not come back together. */
  #delay(): number {
    const bound = Math.min(DELAY_MILLISECONDS_MIN * 2 ** this.#failures, DELAY_MILLISECONDS_MAX);
    this.#failures += 1;
    return this.#means.random() * bound;
  }

  #slowly(): number {
    return (SLOW_MILLISECONDS / 2) * (1 + this.#means.random());
  }

  #tell(is: "trying" | "waiting"): void {
    this.#told({ is, tries: this.#tries, cause: this.#cause });
  }
}
