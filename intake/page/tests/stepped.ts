// A clock that moves when a test says so, and promises given time to settle.

import type { Clock } from "../src/clock.ts";

/** Time stands still until `step`. */
export class SteppedClock implements Clock {
  #now = Date.parse("2026-03-01T12:00:00Z");
  #waiting: { at: number; act: () => void }[] = [];

  now(): number {
    return this.#now;
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
    for (;;) {
      const due = this.#waiting.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
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
