// Sealing to a public key: HPKE base mode with the post-quantum hybrid, so that a vote kept today stays sealed later.
//
// The key encapsulation is noble's, because hardly any browser has ML-KEM; HKDF and AES-GCM are the browser's own.

import { KEM_MLKEM768_X25519 } from "@panva/hpke-noble";
import { AEAD_AES_256_GCM, CipherSuite, EncapError, KDF_HKDF_SHA256 } from "hpke";
import { concat, Malformed } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";

export const SUITE = "mlkem768x25519-hkdfsha256-aes256gcm";
export const PUBLIC_KEY_BYTES = 1184 + 32;
export const SEAL_OVERHEAD_BYTES = 1120 + 16;

const COEFFICIENTS_BYTES = 1152;
const MODULUS = 3329;
const NO_KEY = "This is not a public key to seal to.";

const suite = new CipherSuite(KEM_MLKEM768_X25519, KDF_HKDF_SHA256, AEAD_AES_256_GCM);

/** Encapsulated key ‖ ciphertext of `plaintext`, empty aad; Malformed if `publicKey` cannot be sealed to. */
export async function hpkeSeal(publicKey: Bytes, plaintext: Bytes, info: Bytes): Promise<Bytes> {
  if (publicKey.length !== PUBLIC_KEY_BYTES || !isReduced(publicKey)) throw new Malformed(NO_KEY);
  const key = await suite.DeserializePublicKey(publicKey);
  try {
    const { encapsulatedSecret, ciphertext } = await suite.Seal(key, plaintext, { info });
    return concat(encapsulatedSecret, ciphertext);
  } catch (error) {
    if (error instanceof EncapError) throw new Malformed(NO_KEY); // an X25519 key of low order
    throw error;
  }
}

/**
 * Whether every coefficient of the ML-KEM key is below the modulus, as FIPS 203, 7.2 asks before use.
 *
 * noble 0.5.4 means to look, but compares the key with a copy that it never reduced.
 */
function isReduced(publicKey: Bytes): boolean {
  for (let at = 0; at < COEFFICIENTS_BYTES; at += 3) {
    const [first = 0, second = 0, third = 0] = publicKey.subarray(at, at + 3);
    if ((first | ((second & 15) << 8)) >= MODULUS || ((second >> 4) | (third << 4)) >= MODULUS) return false;
  }
  return true;
}
