// What the server put into the page for the script: the signed ballot, the keys, and how the ballot's window stands.

import { type Bytes, fromB64url, Malformed } from "./encoding.ts";
import { KEY_BYTES, SIGNATURE_BYTES } from "./credential.ts";

/** The island of the voter's page. */
export interface Island {
  ballot: string;
  document: Bytes;
  documentSignature: Bytes;
  deskKey: Bytes;
  receiptsKey: Bytes;
  window: { opens: string; closes: string; state: string };
  pageVersion: string;
}

/** The island in `text`; Malformed unless everything is there. */
export function islandIn(text: string): Island {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Malformed("The island is not JSON.");
  }
  const given = record(value);
  const window = record(given["window"]);
  return {
    ballot: string(given["ballot"]),
    document: fromB64url(string(given["document"])),
    documentSignature: fromB64url(string(given["document_signature"]), SIGNATURE_BYTES),
    deskKey: fromB64url(string(given["desk_key"]), KEY_BYTES),
    receiptsKey: fromB64url(string(given["receipts_key"]), KEY_BYTES),
    window: {
      opens: string(window["opens"]),
      closes: string(window["closes"]),
      state: string(window["state"]),
    },
    pageVersion: string(given["page_version"]),
  };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Malformed("Something is missing in the island.");
  return value as Record<string, unknown>;
}

function string(value: unknown): string {
  if (typeof value !== "string") throw new Malformed("Something is missing in the island.");
  return value;
}
