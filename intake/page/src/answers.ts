// The plaintext of a vote, and the one length to which every vote on a ballot is padded.

import type { Question } from "./ballot.ts";
import { Malformed, utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";
import { PADDED_BYTES_UNIT } from "./limits.ts";

/** Option ids by question id; a question that is missing, or whose list is empty, is left blank. */
export type Answers = Record<string, string[]>;

/** The most options that an answer to `question` may hold. */
export function choicesMax(question: Question): number {
  return question.form === "single" ? 1 : (question.max ?? question.options.length);
}

/** `answers` as compact JSON in the order of `questions`; Malformed if they would be spoilt. */
export function plaintext(questions: readonly Question[], answers: Answers): Bytes {
  const known = new Set(questions.map((question) => question.id));
  if (Object.keys(answers).some((id) => !known.has(id))) {
    throw new Malformed("An answer names a question that is not on this ballot.");
  }
  return compact(questions.map((question) => [question.id, chosenFor(question, answers)]));
}

/** `data` followed by zero bytes up to `size`. */
export function pad(data: Bytes, size: number): Bytes {
  if (data.length > size) throw new Malformed("This is longer than anything that may be sealed here.");
  const padded = new Uint8Array(size);
  padded.set(data);
  return padded;
}

/** The length of the longest legal plaintext, rounded up to a multiple of 64. */
export function paddedSize(questions: readonly Question[]): number {
  const longest = questions.map((question): [string, string[]] => {
    const ids = question.options.map((option) => option.id).sort((one, other) => other.length - one.length);
    return [question.id, ids.slice(0, choicesMax(question))];
  });
  return Math.ceil(compact(longest).length / PADDED_BYTES_UNIT) * PADDED_BYTES_UNIT;
}

function chosenFor(question: Question, answers: Answers): readonly string[] {
  // Own members only: a question may well be called "constructor".
  const chosen = Object.prototype.hasOwnProperty.call(answers, question.id) ? answers[question.id] : [];
  if (!Array.isArray(chosen)) throw new Malformed("An answer is not a list.");
  const options = new Set(question.options.map((option) => option.id));
  if (chosen.some((id) => !options.has(id))) {
    throw new Malformed("An answer names an option that is not on this ballot.");
  }
  if (new Set(chosen).size !== chosen.length) throw new Malformed("An answer names an option twice.");
  if (chosen.length > choicesMax(question))
    throw new Malformed("An answer has more options than are allowed.");
  return chosen;
}

/** Written by hand: an object would put questions called "2" and "10" into another order than the ballot's. */
function compact(answers: readonly (readonly [string, readonly string[]])[]): Bytes {
  const members = answers.map(([id, chosen]) => `${JSON.stringify(id)}:${JSON.stringify(chosen)}`);
  return utf8(`{"v":1,"answers":{${members.join(",")}}}`);
}
