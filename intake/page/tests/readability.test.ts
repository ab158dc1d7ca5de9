import assert from "node:assert/strict";
import { test } from "node:test";
import about from "../text/about.en.json" with { type: "json" };
import en from "../text/en.json" with { type: "json" };
import { grade, syllables } from "./reading.ts";

/** The project's threshold for the plain-English description: grade 6, a reading age of about 11. */
const GRADE_MAX = 6;
/** No part of it may be hard to read between easy ones. */
const PART_GRADE_MAX = 8;

type Part = { heading: string; paragraphs: string[]; list?: string[] };

const filled = (text: string): string =>
  text.replace("{scrutineer}", "Ann Other").replace("{contact}", "help at our office");

/** A part as it is read: every entry of a list is a sentence. */
const read = (part: Part): string =>
  [...part.paragraphs, ...(part.list ?? []).map((entry) => `${entry}.`)].map(filled).join(" ");

test("syllables are counted as they are spoken, mostly", () => {
  const known = {
    vote: 1,
    sealed: 1,
    voted: 2,
    number: 2,
    employer: 3,
    computer: 3,
    scrutineer: 3,
    codes: 1,
  };
  for (const [word, count] of Object.entries(known)) assert.equal(syllables(word), count, word);
});

test("a hard text is told from an easy one", () => {
  assert.ok(grade("The cat sat on the mat. It was warm. The cat was glad.") < 2);
  assert.ok(
    grade("Notwithstanding preceding stipulations, administrators retain discretionary authority.") > 20,
  );
});

test("the description of the system is plain English: below the project's threshold as a whole and in each part", () => {
  const whole = grade((about as Part[]).map(read).join(" "));
  assert.ok(whole <= GRADE_MAX, `grade ${whole.toFixed(1)}`);
  for (const part of about as Part[]) {
    const found = grade(read(part));
    assert.ok(found <= PART_GRADE_MAX, `“${part.heading}”: grade ${found.toFixed(1)}`);
  }
});

test("the notice before the code is as plain as the description", () => {
  const notice = Object.entries(en)
    .filter(([key]) => key.startsWith("notice.") && !key.endsWith("_heading") && key !== "notice.more")
    .map(([, text]) => text);
  assert.ok(grade(notice.join(" ")) <= PART_GRADE_MAX, `grade ${grade(notice.join(" ")).toFixed(1)}`);
});

test("the description names what the law and the notice ask it to name", () => {
  const whole = (about as Part[]).map(read).join(" ");
  for (const words of [
    "sealed",
    "encrypt",
    "never leaves your device",
    "IP address",
    "at least 12 months",
    "destroy",
    "vote in your place",
    "see whether you voted, but not how",
    "Complaints are kept",
    "special protection",
    "Information Commissioner",
    "employer",
    "union",
    "trace a vote",
    "complaint",
    "reference number",
  ]) {
    assert.ok(whole.includes(words), words);
  }
});
