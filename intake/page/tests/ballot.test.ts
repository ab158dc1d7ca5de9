// Only what the desk signed, in its one form, becomes a ballot.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openDocument, languageOf, shown } from "../src/ballot.ts";
import type { Ballot } from "../src/ballot.ts";
import { nobleKey } from "../src/credential.ts";
import { b64url, canonicalJson, concat, fromB64url, sha256, Untrue, utf8 } from "../src/encoding.ts";
import { definition, DESK_KEY, document, vectorBallot } from "./vectors.ts";

type Tree = Record<string, unknown>;

const desk = nobleKey(new Uint8Array(32).fill(7));
const SIGNED = JSON.parse(document.canonical) as Tree;
const PUBLIC_KEY = fromB64url(SIGNED.public_key as string);

/** The exact text `canonical`, opened as if the desk had signed it. */
async function opened(canonical: string): Promise<Ballot> {
  const message = concat(utf8("strike-ballot/v1/document\0"), await sha256(utf8(canonical)));
  return openDocument(utf8(canonical), await desk.sign(message), desk.publicKey);
}

/** The document of the vectors in which `value` stands at `path`, such as "definition.ballot.id"; undefined: nothing. */
function changed(path: string, value: unknown): string {
  const copy = structuredClone(SIGNED);
  const names = path.split(".");
  const last = names.pop() ?? "";
  const place = names.reduce((tree, name) => tree[name] as Tree, copy);
  if (value === undefined) delete place[last];
  else place[last] = value;
  return canonicalJson(copy);
}

test("the signed document of the vectors", async () => {
  const ballot = await vectorBallot();
  assert.equal(ballot.id, "tube-2025");
  assert.equal(ballot.definitionSha256, definition.definitions[0]?.definition_sha256);
  assert.equal(ballot.paddedSize, 64);
  assert.equal(ballot.opens, "2025-07-01T08:00:00Z");
  assert.deepEqual(ballot.methods, ["electronic", "postal"]);
  assert.deepEqual(
    ballot.questions.map((one) => one.id),
    ["strike", "short-of-strike"],
  );
  assert.equal(ballot.employer, "London Underground Limited");
});

test("every form, both languages, no employer", async () => {
  const { canonical = "", definition_sha256, padded_size } = definition.definitions[1] ?? {};
  const committee = { ...SIGNED, definition: JSON.parse(canonical) as Tree, padded_size };
  const ballot = await opened(canonicalJson(committee));
  assert.equal(ballot.definitionSha256, definition_sha256);
  assert.equal(shown(ballot.title, "cy"), "Pwyllgor gwaith");
  assert.equal(shown(ballot.scrutineer, "cy"), "An Independent Scrutineer");
  assert.deepEqual(
    [ballot.title, ballot.scrutineer, { en: "Pay" }].map((one) => languageOf(one, "cy")),
    ["cy", "en", "en"],
  );
  assert.equal(languageOf(ballot.title, "en"), "en");
  assert.ok(!("employer" in ballot));
  assert.deepEqual(
    ballot.questions.map(({ form, max }) => [form, max]),
    [
      ["multiple", 2],
      ["ranked", undefined],
    ],
  );
});

test("another key, signature or byte is untrue, and nothing of it is read", async () => {
  const [bytes, signature] = [utf8(document.canonical), fromB64url(document.document_signature)];
  await assert.rejects(openDocument(bytes, signature, desk.publicKey), Untrue);
  await assert.rejects(openDocument(bytes, signature.slice().fill(0), DESK_KEY), Untrue);
  await assert.rejects(openDocument(bytes, new Uint8Array(), DESK_KEY), Untrue);
  await assert.rejects(openDocument(bytes.slice(0, -1), signature, DESK_KEY), Untrue);
  for (const at of [0, 100, bytes.length - 1]) {
    const forged = bytes.slice();
    forged[at] = (forged[at] ?? 0) ^ 1;
    await assert.rejects(openDocument(forged, signature, DESK_KEY), Untrue);
  }
});

test("a document that is not in its one form is untrue even when it is signed", async () => {
  const texts = [
    "",
    "null",
    "[]",
    "{}",
    `${document.canonical} `,
    `\ufeff${document.canonical}`,
    document.canonical.replace('"padded_size":64', '"padded_size":64,"padded_size":64'),
    document.canonical.replace('"padded_size":64', '"padded_size":64.0'),
    document.canonical.replace("Yes", "\\u0059es"),
    "[".repeat(100_000),
    "x".repeat(600_000),
  ];
  for (const text of texts) await assert.rejects(opened(text), Untrue, text.slice(0, 40));
});

test("a document that says what no ballot says is untrue even when it is signed", async () => {
  const strike = { id: "strike", text: "Strike?", form: "single", options: [{ id: "yes", text: "Yes" }] };
  const changes: [string, unknown][] = [
    ["padded_size", 128],
    ["padded_size", "64"],
    ["suite", "rot13"],
    ["public_key", SIGNED.result_key],
    ["public_key", 5],
    ["public_key", b64url(PUBLIC_KEY.slice().fill(255, 0, 3))], // not reduced
    ["public_key", b64url(PUBLIC_KEY.slice().fill(255, 1150, 1152))], // nor in the last place
    ["public_key", b64url(PUBLIC_KEY.slice().fill(0, 1184))], // a point of low order
    ["result_key", "AA"],
    ["result_key", undefined],
    ["extra", 1],
    ["definition", "x"],
    ["definition.more", {}],
    ["definition.ballot.id", "Tube 2025"],
    ["definition.ballot.id", "i".repeat(41)],
    ["definition.ballot.title", ""],
    ["definition.ballot.title", "x".repeat(4001)],
    ["definition.ballot.title", { cy: "Teitl" }],
    ["definition.ballot.title", { en: "Title", fr: "Titre" }],
    ["definition.ballot.title", ["Title"]],
    ["definition.ballot.kind", "raffle"],
    ["definition.ballot.contact", 5],
    ["definition.ballot.contact", undefined],
    ["definition.ballot.opens", "2025-07-29T11:00:00Z"],
    ["definition.ballot.opens", "2025-02-30T11:00:00Z"],
    ["definition.ballot.opens", "2025-07-01T08:00:00+00:00"],
    ["definition.ballot.closes", "2025-07-29T11:00:00.000000Z"],
    ["definition.ballot.methods", []],
    ["definition.ballot.methods", ["postal", "postal"]],
    ["definition.ballot.methods", ["pigeon"]],
    ["definition.ballot.precedence", "last"],
    ["definition.question", []],
    ["definition.question", {}],
    ["definition.question", Array.from({ length: 41 }, (_, at) => ({ ...strike, id: `q${at}` }))],
    ["definition.question.1.id", "strike"],
    ["definition.question.0.form", "free"],
    ["definition.question.0.max", 1],
    ["definition.question.0.form", "multiple"],
    ["definition.question.0", { ...strike, form: "multiple", max: 2 }],
    ["definition.question.0", { ...strike, form: "multiple", max: 0 }],
    ["definition.question.0.options", []],
    ["definition.question.0.options.1.id", "yes"],
    ["definition.question.0.options.1.colour", "red"],
  ];
  for (const [path, value] of changes) {
    await assert.rejects(opened(changed(path, value)), Untrue, `${path} ${JSON.stringify(value)}`);
  }
  await opened(changed("definition.ballot.title", "x".repeat(4000)));
  await opened(changed("definition.question.0", { ...strike, form: "multiple", max: 1 }));
});
