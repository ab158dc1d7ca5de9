// A code that is opened while another's vote is on its way: kept on this page alone, for when that vote has its receipt.

import { Code } from "./code.ts";
import { b64url, type Bytes } from "./encoding.ts";
import type { World } from "./screen.ts";

/** Another code; without a seed it was not one, and has to be typed. */
export interface OtherCode {
  seed: Bytes | null;
}

/** The code in `link`; null if it is the very one whose vote is on its way. */
export async function otherCode({ crypto, ballot, memory }: World, link: string): Promise<OtherCode | null> {
  let seed: Bytes;
  let credential: Bytes;
  try {
    seed = await crypto.seedOf(Code.parse(link), ballot.id);
    ({ credential } = await crypto.signer(seed));
  } catch {
    return { seed: null };
  }
  const kept = memory.read();
  const own =
    (kept?.is === "sealed" && kept.body.includes(b64url(credential))) ||
    (kept?.is === "answering" && kept.seed === b64url(seed));
  return own ? null : { seed };
}
