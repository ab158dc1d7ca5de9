// The vectors that Python and the page share: tests/vectors/ of the repository.

import { readFileSync } from "node:fs";
import { fromB64url, fromHex, utf8 } from "../src/encoding.ts";
import type { Bytes } from "../src/encoding.ts";
import { openDocument } from "../src/ballot.ts";
import type { Ballot, Question } from "../src/ballot.ts";

const FOLDER = new URL("../../../tests/vectors/", import.meta.url);

function read<Vector>(name: string): Vector {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8")) as Vector;
}

export interface ReceiptText {
  ballot: string;
  reference: string;
  accepted_at: string;
  sealed_sha256: string;
  signature: string;
  key_id: string;
  path: [string, string][];
}

export const answers = read<{
  ballots: {
    questions: Question[];
    padded_size: number;
    answers: { answers: Record<string, string[]>; plaintext: string | null }[];
  }[];
}>("answers");

export const code = read<{
  check_symbol: { symbols: string; check_symbol: string }[];
  codes: {
    code: string;
    ballot: string;
    credential: string;
    credential_elsewhere: string;
    credential_sha256: string;
  }[];
  typed: { typed: string; code: string | null }[];
}>("code");

export const complaint = read<{
  bytes_max: number;
  sealed_bytes: number;
  desk_key: string;
  key: { id: string; use: string; alg: string; public_key: string; signature: string };
  plaintexts: { text: string; contact: string; json: string }[];
}>("complaint");

export const definition = read<{
  definitions: { canonical: string; definition_sha256: string; padded_size: number }[];
}>("definition");

export const document = read<{
  canonical: string;
  desk_public_key: string;
  desk_key_id: string;
  document_signature: string;
}>("document");

export const encoding = read<{
  base64url: { text: string; hex: string | null }[];
  hex: { text: string; hex: string | null }[];
  canonical: { value: unknown; json: string }[];
}>("encoding");

export const merkle = read<{
  leaves: string[];
  trees: { leaves: number; root: string; paths: ["L" | "R", string][][] }[];
}>("merkle");

export const receipt = read<{
  public_key: string;
  leaves: string[];
  leaf_hashes: string[];
  root: string;
  receipts: ReceiptText[];
  alone: ReceiptText;
}>("receipt");

export const signature = read<{
  message: string;
  signatures: { what: string; public_key: string; signature: string; good: boolean }[];
}>("signature");

export const vote = read<{
  code: string;
  ballot: string;
  definition_sha256: string;
  answers: Record<string, string[]>;
  plaintext: string;
  padded_plaintext: string;
  bind: string;
  info: string;
  sealed_sha256: string;
  signed_message: string;
  request: string;
}>("vote");

export const DESK_KEY = fromB64url(document.desk_public_key);

/** The ballot of the vectors. */
export function vectorBallot(): Promise<Ballot> {
  return openDocument(utf8(document.canonical), fromB64url(document.document_signature), DESK_KEY);
}

/** `hex` as bytes. */
export const bytes = (hex: string): Bytes => fromHex(hex);
