// Answers become the bytes that Python makes of them, and never become a spoilt vote.

import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesMax, pad, paddedSize, plaintext } from "../src/answers.ts";
import type { Question } from "../src/ballot.ts";
import { fromUtf8, hex, Malformed, utf8 } from "../src/encoding.ts";
import { Drawn } from "./drawn.ts";
import { answers, vectorBallot, vote } from "./vectors.ts";

test("answers give Python's bytes, and what Python refuses is refused", () => {
  for (const { questions, answers: cases } of answers.ballots) {
    for (const { answers: given, plaintext: expected } of cases) {
      if (expected === null) assert.throws(() => plaintext(questions, given), Malformed);
      else assert.equal(fromUtf8(plaintext(questions, given)), expected);
    }
  }
});

test("the padded size is Python's, also just below and just above a multiple of 64", () => {
  for (const ballot of answers.ballots) assert.equal(paddedSize(ballot.questions), ballot.padded_size);
});

test("the vote of the vectors, padded", async () => {
  const { questions, paddedSize: size } = await vectorBallot();
  const plain = plaintext(questions, vote.answers);
  assert.equal(fromUtf8(plain), vote.plaintext);
  assert.equal(hex(pad(plain, size)), vote.padded_plaintext);
});

test("any legal answers read as what was chosen, and fit", () => {
  const drawn = new Drawn(6);
  for (let round = 0; round < 300; round += 1) {
    const questions = Array.from({ length: 1 + drawn.below(4) }, (_, at) => question(drawn, at));
    const chosen = questions.map((one): [string, string[]] => {
      const ids = one.options.map((option) => option.id);
      return [one.id, drawn.some(ids, drawn.below(choicesMax(one) + 1))];
    });
    const plain = plaintext(questions, Object.fromEntries(chosen));
    assert.deepEqual(JSON.parse(fromUtf8(plain)), { v: 1, answers: Object.fromEntries(chosen) });
    const padded = pad(plain, paddedSize(questions));
    assert.equal(padded.length % 64, 0);
    assert.equal(fromUtf8(padded).replace(/\0+$/, ""), fromUtf8(plain));
  }
});

test("a question called as something that every object has is blank when it is not answered", () => {
  const questions = ["constructor", "valueof", "2", "10"].map((id): Question => ({
    id,
    text: id,
    form: "single",
    options: [{ id: "yes", text: "Yes" }],
  }));
  const expected = '{"v":1,"answers":{"constructor":[],"valueof":[],"2":[],"10":["yes"]}}';
  assert.equal(fromUtf8(plaintext(questions, { 10: ["yes"] })), expected);
});

test("what is no list of options is refused", () => {
  const [{ questions } = { questions: [] }] = answers.ballots;
  for (const odd of ["1", null, { 0: "1", length: 1 }, [1]]) {
    assert.throws(() => plaintext(questions, { 10: odd as unknown as string[] }), Malformed);
  }
});

test("what is too long is refused, not cut", () => {
  assert.throws(() => pad(utf8("four+"), 4), Malformed);
  assert.equal(hex(pad(utf8("four"), 4)), hex(utf8("four")));
});

function question(drawn: Drawn, at: number): Question {
  const form = (["single", "multiple", "ranked"] as const)[drawn.below(3)] ?? "single";
  const options = Array.from({ length: 1 + drawn.below(8) }, (_, number) => {
    const id = `${number}-${"o".repeat(drawn.below(37))}`;
    return { id, text: id };
  });
  const plain = { id: `q${at}`, text: "", form, options };
  return form === "multiple" ? { ...plain, max: 1 + drawn.below(options.length) } : plain;
}
