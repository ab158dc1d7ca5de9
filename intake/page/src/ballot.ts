// The ballot that the desk signed: nothing of it is read before its signature is verified, and every vote is sealed
// to what stands in it and nowhere else.
//
// The wording has been through the desk's checks (ballot/definition_check.py) and is not checked again here; what the
// page relies on is: form, bounds, ids, keys and the padded size.

import { paddedSize } from "./answers.ts";
import { KEY_BYTES, verify } from "./credential.ts";
import {
  canonicalJson,
  concat,
  fromB64url,
  fromUtf8,
  hex,
  Malformed,
  sha256,
  Untrue,
  utf8,
} from "./encoding.ts";
import type { Bytes } from "./encoding.ts";
import { hpkeSeal, SUITE } from "./hpke.ts";
import {
  DOCUMENT_BYTES_MAX,
  OPTIONS_MAX,
  PADDED_BYTES_MAX,
  QUESTIONS_MAX,
  TEXT_CHARS_MAX,
} from "./limits.ts";
import { allDifferent, id, list, object, oneOf, string, time } from "./parsing.ts";

/** What a voter reads: in one language, or in several, of which English is always one. */
export type Text = string | { en: string; cy?: string };
export type Language = "en" | "cy";
export type Form = "single" | "multiple" | "ranked";

export interface Option {
  id: string;
  text: Text;
}

/** One question. `max` is the most options a voter may choose, for the form `multiple` only. */
export interface Question {
  id: string;
  text: Text;
  form: Form;
  options: Option[];
  max?: number;
}

/** A ballot as it was frozen and signed; `opens` and `closes` may have been changed since by the scrutineer. */
export interface Ballot {
  id: string;
  title: Text;
  kind: string;
  union?: Text;
  employer?: Text;
  scrutineer: Text;
  contact: Text;
  opens: string;
  closes: string;
  methods: string[];
  questions: Question[];
  definitionSha256: string;
  paddedSize: number;
  publicKey: Bytes;
  suite: string;
}

const KINDS = ["industrial-action", "political-fund", "election", "merger", "recognition", "probe"] as const;
const METHODS = ["electronic", "postal", "workplace"] as const;
const FORMS = ["single", "multiple", "ranked"] as const;

/** The ballot in the exact bytes `canonical`, signed by `deskKey`; Untrue otherwise. */
export async function openDocument(canonical: Bytes, signature: Bytes, deskKey: Bytes): Promise<Ballot> {
  if (canonical.length > DOCUMENT_BYTES_MAX) throw new Untrue("This is too long for a ballot.");
  const message = concat(utf8("strike-ballot/v1/document\0"), await sha256(canonical));
  if (!(await verify(deskKey, signature, message)))
    throw new Untrue("This ballot is not signed by its desk.");
  try {
    return await ballot(canonicalValue(fromUtf8(canonical)));
  } catch (error) {
    if (error instanceof Malformed) throw new Untrue(`This is not a ballot: ${error.message}`);
    throw error;
  }
}

/** `text` in `language`, else in English. */
export function shown(text: Text, language: Language): string {
  return typeof text === "string" ? text : (text[language] ?? text.en);
}

/** The language of what `shown` gives; a text without languages is taken to be English, as every ballot has it. */
export function languageOf(text: Text, language: Language): Language {
  return typeof text !== "string" && text[language] !== undefined ? language : "en";
}

/** The value of `text`, which must be exactly its canonical form, so that no name is given twice. */
function canonicalValue(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Malformed("This is not JSON.");
  }
  if (canonicalJson(value) !== text) throw new Malformed("This is not in canonical form.");
  return value;
}

async function ballot(value: unknown): Promise<Ballot> {
  const document = object(value, ["definition", "padded_size", "public_key", "result_key", "suite"]);
  const definition = object(document.definition, ["ballot", "question"]);
  const questions = list(definition.question, 1, QUESTIONS_MAX, question);
  allDifferent(questions.map((one) => one.id));
  const size = paddedSize(questions);
  if (document.padded_size !== size || size > PADDED_BYTES_MAX)
    throw new Malformed("The padded size is another.");
  const publicKey = fromB64url(string(document.public_key));
  fromB64url(string(document.result_key), KEY_BYTES);
  const suite = oneOf(document.suite, [SUITE]);
  // Sealing nothing shows now, before the voter answers, that this device can seal to this key.
  await hpkeSeal(publicKey, new Uint8Array(), utf8("strike-ballot/v1/check"));
  return {
    ...head(definition.ballot),
    questions,
    definitionSha256: hex(await sha256(utf8(canonicalJson(definition)))),
    paddedSize: size,
    publicKey,
    suite,
  };
}

type Head = Omit<Ballot, "questions" | "definitionSha256" | "paddedSize" | "publicKey" | "suite">;

function head(value: unknown): Head {
  const required = ["id", "title", "kind", "scrutineer", "contact", "opens", "closes", "methods"] as const;
  const given = object(value, required, ["union", "employer", "precedence"]);
  const opens = time(given.opens, 0);
  const closes = time(given.closes, 0);
  if (closes <= opens) throw new Malformed("The ballot closes before it opens.");
  if (given.precedence !== undefined) oneOf(given.precedence, ["first-recorded"]);
  const methods = list(given.methods, 1, METHODS.length, (one) => oneOf(one, METHODS));
  allDifferent(methods);
  return {
    id: id(given.id),
    title: words(given.title),
    kind: oneOf(given.kind, KINDS),
    ...(given.union === undefined ? {} : { union: words(given.union) }),
    ...(given.employer === undefined ? {} : { employer: words(given.employer) }),
    scrutineer: words(given.scrutineer),
    contact: words(given.contact),
    opens,
    closes,
    methods,
  };
}

function question(value: unknown): Question {
  const given = object(value, ["id", "text", "form", "options"], ["max"]);
  const form = oneOf(given.form, FORMS);
  const options = list(given.options, 1, OPTIONS_MAX, option);
  allDifferent(options.map((one) => one.id));
  const plain = { id: id(given.id), text: words(given.text), form, options };
  if (form !== "multiple") {
    if (given.max !== undefined) throw new Malformed("Only a question of the form multiple has a maximum.");
    return plain;
  }
  const { max } = given;
  if (typeof max !== "number" || !Number.isInteger(max) || max < 1 || max > options.length) {
    throw new Malformed("The maximum is not a number of options.");
  }
  return { ...plain, max };
}

function option(value: unknown): Option {
  const given = object(value, ["id", "text"]);
  return { id: id(given.id), text: words(given.text) };
}

function words(value: unknown): Text {
  if (typeof value === "string") return plainWords(value);
  const given = object(value, ["en"], ["cy"]);
  const en = plainWords(given.en);
  return given.cy === undefined ? { en } : { en, cy: plainWords(given.cy) };
}

function plainWords(value: unknown): string {
  const text = string(value);
  if (text === "" || [...text].length > TEXT_CHARS_MAX)
    throw new Malformed("This is not text of a fitting length.");
  return text;
}
