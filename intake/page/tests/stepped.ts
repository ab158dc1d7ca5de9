// A clock that moves when a test says so, and promises given time to settle.

import type { Clock } from "../src/clock.ts";

/** More than any test's page does in one step: beyond it, something does the same again and again without waiting. */
export const ACTS_MAX = 2_000;

/** Time stands still until `step`. */
export class SteppedClock implements Clock {
  #now = 5_000;
  #wall = Date.parse("2026-03-01T12:00:00Z") - this.#now;
  #waiting: { at: number; act: () => void }[] = [];

  now(): number {
    return this.#wall + this.#now;
  }

  elapsed(): number {
    return this.#now;
  }

  /** The device's clock is set, back if `milliseconds` is below 0: no time passes by that. */
  set(milliseconds: number): void {
    this.#wall += milliseconds;
  }

  after(milliseconds: number, act: () => void): () => void {
    const entry = { at: this.#now + milliseconds, act };
    this.#waiting.push(entry);
    return () => {
      this.#waiting = this.#waiting.filter((one) => one !== entry);
    };
  }

  /** How many things are still to be done. */
  get pending(): number {
    return this.#waiting.length;
  }

  /** How long until the next thing to be done. */
  get next(): number {
    return Math.min(...this.#waiting.map(({ at }) => at)) - this.#now;
  }

  /** Lets `milliseconds` pass: everything due is done in order, each followed by what it leads to. */
  async step(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await settle();
    for (let acts = 0; ; acts += 1) {
      const due = this.#waiting.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
      if (acts === ACTS_MAX)
        throw new Error(`${ACTS_MAX} things done in one step: nothing waits as it should`);
      this.#waiting = this.#waiting.filter((one) => one !== due);
      this.#now = due.at;
      due.act();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets every promise that can go on do so. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A promise that a test settles when it likes. */
export function promised<Value>(): { promise: Promise<Value>; give: (value: Value) => void } {
  let give: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    give = resolve;
  });
  return { promise, give };
}
