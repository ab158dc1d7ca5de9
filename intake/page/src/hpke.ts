// Sealing to a public key: HPKE base mode with the post-quantum hybrid, so that a vote kept today stays sealed later.
//
// The key encapsulation is noble's, because hardly any browser has ML-KEM; HKDF and AES-GCM are the browser's own.

import { KEM_MLKEM768_X25519 } from "@panva/hpke-noble";
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256 } from "hpke";
import { concat, Malformed } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";

export const SUITE = "mlkem768x25519-hkdfsha256-aes256gcm";
export const PUBLIC_KEY_BYTES = 1184 + 32;
export const SEAL_OVERHEAD_BYTES = 1120 + 16;

const suite = new CipherSuite(KEM_MLKEM768_X25519, KDF_HKDF_SHA256, AEAD_AES_256_GCM);

/** Encapsulated key ‖ ciphertext of `plaintext`, empty aad; Malformed if `publicKey` cannot be sealed to. */
export async function hpkeSeal(publicKey: Bytes, plaintext: Bytes, info: Bytes): Promise<Bytes> {
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw new Malformed("This is not a public key to seal to.");
  const key = await suite.DeserializePublicKey(publicKey);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(key, plaintext, { info });
  const sealed = concat(encapsulatedSecret, ciphertext);
  if (sealed.length !== plaintext.length + SEAL_OVERHEAD_BYTES)
    throw new Error("Sealing gave another length.");
  return sealed;
}
