// Asks whether a code would be taken: a few quiet tries, then the voter may go on without knowing.

import { type Clock, pause } from "./clock.ts";
import type { Refusal, Server } from "./server.ts";

/** So often, and no longer. */
export const ACCESS_TRIES = 3;
const PAUSE_MILLISECONDS = 1_000;
/** A server that wants to be left alone for longer is not waited for: the vote itself will decide. */
const PAUSE_MILLISECONDS_MAX = 5_000;

/** What is known of the code. */
export type Access = { is: "ready" } | { is: "unsure" } | { is: "refused"; refusal: Refusal };

/** Asks with the digest of the credential; nothing is used up by it. */
export async function askAccess(server: Server, clock: Clock, credentialSha256: string): Promise<Access> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await server.access(credentialSha256);
    if (outcome.is !== "again") return outcome;
    const wait = Math.max(outcome.retryAfter, tries * PAUSE_MILLISECONDS);
    if (tries === ACCESS_TRIES || wait > PAUSE_MILLISECONDS_MAX) return { is: "unsure" };
    await pause(clock, wait);
  }
}
