// Asks whether a code would be taken: a few quiet tries, then the voter may go on without knowing.

import { pause } from "./clock.ts";
import type { Bytes } from "./encoding.ts";
import type { World } from "./screen.ts";
import type { Refusal } from "./server.ts";

/** So often, and no longer. */
export const ACCESS_TRIES = 3;
const PAUSE_MILLISECONDS = 1_000;
/** A server that wants to be left alone for longer is not waited for: the vote itself will decide. */
const PAUSE_MILLISECONDS_MAX = 5_000;

/** What is known of the code; `early`: it is too soon to ask; `unfit`: the device cannot. */
export type Access =
  { is: "ready" | "unsure" | "unfit" } | { is: "early"; opens: string } | { is: "refused"; refusal: Refusal };

/** Asks with the digest of the seed's credential, which uses nothing up. Throws where the device cannot make one. */
export async function askAccess({ crypto, server, clock, ballot }: World, seed: Bytes): Promise<Access> {
  const { credentialSha256 } = await crypto.signer(seed);
  for (let tries = 1; ; tries += 1) {
    const outcome = await server.access(credentialSha256);
    if (outcome.is === "refused" && outcome.refusal.early === true) {
      return { is: "early", opens: outcome.refusal.opens ?? ballot.opens };
    }
    if (outcome.is !== "again") return outcome;
    const wait = Math.max(outcome.retryAfter, tries * PAUSE_MILLISECONDS);
    if (tries === ACCESS_TRIES || wait > PAUSE_MILLISECONDS_MAX) return { is: "unsure" };
    await pause(clock, wait);
  }
}
