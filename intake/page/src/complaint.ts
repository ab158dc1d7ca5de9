// A complaint: sealed on this device to the complaints key that the desk signed, always of one length.

import { pad } from "./answers.ts";
import { SIGNATURE_BYTES, verify } from "./credential.ts";
import { b64url, concat, fromB64url, Malformed, sha256, Untrue, utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";
import { hpkeSeal, PUBLIC_KEY_BYTES } from "./hpke.ts";
import { COMPLAINT_BYTES_MAX } from "./limits.ts";
import { id, object, string } from "./parsing.ts";

export { COMPLAINT_BYTES_MAX };

/** What a voter writes; `contact` may be empty. */
export interface Complaint {
  text: string;
  contact: string;
}

/** The request, byte for byte: sent again it is the same complaint and gets the same number. */
export async function sealComplaint(
  complaint: Complaint,
  key: unknown,
  deskKey: Bytes,
  ballot: string | null,
): Promise<{ body: string }> {
  if (complaint.text === "") throw new Malformed("A complaint has words.");
  const padded = pad(utf8(compact(complaint)), COMPLAINT_BYTES_MAX);
  const publicKey = await complaintsKey(key, deskKey);
  const sealed = b64url(await hpkeSeal(publicKey, padded, utf8("strike-ballot/v1/complaint")));
  padded.fill(0);
  return { body: JSON.stringify(ballot === null ? { sealed } : { ballot: id(ballot), sealed }) };
}

/** How many bytes of COMPLAINT_BYTES_MAX this complaint takes. */
export function complaintBytes(text: string, contact: string): number {
  return utf8(compact({ text, contact })).length;
}

/** The complaints key as published, of which these two members matter; Untrue unless the desk signed it. */
async function complaintsKey(value: unknown, deskKey: Bytes): Promise<Bytes> {
  const given = object(value, ["public_key", "signature"], ["id", "use", "alg"]);
  const publicKey = fromB64url(string(given.public_key), PUBLIC_KEY_BYTES);
  const signature = fromB64url(string(given.signature), SIGNATURE_BYTES);
  const message = concat(utf8("strike-ballot/v1/complaints-key\0"), await sha256(publicKey));
  if (!(await verify(deskKey, signature, message))) throw new Untrue("This key is not signed by the desk.");
  return publicKey;
}

function compact({ text, contact }: Complaint): string {
  const [plain, reach] = [wellFormed(text), wellFormed(contact)];
  return JSON.stringify(reach === "" ? { v: 1, text: plain } : { v: 1, text: plain, contact: reach });
}

/** `text` without halves of characters, which have no form in UTF-8. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
