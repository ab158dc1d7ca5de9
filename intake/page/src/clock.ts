// Time and chance as the page uses them, so that tests can step them instead of waiting.

/** What time it is, and what to do later. */
export interface Clock {
  /** Milliseconds since 1970, as far as the device knows: it may be set back or forth at any moment. */
  now(): number;
  /** Milliseconds since some moment: they only ever go on, whatever the device's clock is set to. */
  elapsed(): number;
  /** Calls `act` once after `milliseconds`, unless the function returned is called first. */
  after(milliseconds: number, act: () => void): () => void;
}

/** The device's own clock. */
export const deviceClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(milliseconds, act) {
    const timer = setTimeout(act, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `milliseconds`. */
export function pause(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => clock.after(milliseconds, resolve));
}
