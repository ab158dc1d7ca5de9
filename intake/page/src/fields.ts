// What stands in a question's form, and the answer it makes: or the slips that a voter has to put right first.

import { choicesMax } from "./answers.ts";
import type { Answers } from "./answers.ts";
import type { Question } from "./ballot.ts";

/** One question's form: by option, "chosen", or the place given to it ("1", "2", …). */
export type Chosen = Readonly<Record<string, string>>;

/** Every question's form. */
export type Fields = Readonly<Record<string, Chosen>>;

/** How an option stands that was chosen without a place. */
export const CHOSEN = "chosen";

/** What is wrong with a form, and at which option. */
export type Slip =
  | { is: "too many"; option: string; max: number; chosen: number }
  | { is: "same place"; option: string; place: number }
  | { is: "gap"; option: string; place: number };

/** How `option` stands in `chosen`: "" if it was not chosen. Own members only: an option may be called "constructor". */
export function entryOf(chosen: Chosen, option: string): string {
  return Object.prototype.hasOwnProperty.call(chosen, option) ? (chosen[option] ?? "") : "";
}

/** The form of `question` in `fields`; empty if it was never filled in. */
export function chosenFor(fields: Fields, question: Question): Chosen {
  return Object.prototype.hasOwnProperty.call(fields, question.id) ? (fields[question.id] ?? {}) : {};
}

/** The answer that `chosen` makes: option ids, in order of preference if the question asks for one. */
export function answerOf(question: Question, chosen: Chosen): string[] {
  const options = question.options.map((option) => option.id).filter((id) => entryOf(chosen, id) !== "");
  if (question.form !== "ranked") return options;
  return options.sort((one, other) => Number(entryOf(chosen, one)) - Number(entryOf(chosen, other)));
}

/** What is wrong with `chosen`; nothing chosen is never wrong, it leaves the question blank. */
export function slipsOf(question: Question, chosen: Chosen): Slip[] {
  const answer = answerOf(question, chosen);
  if (question.form === "ranked") return slipsOfPlaces(answer, chosen);
  const max = choicesMax(question);
  const [first] = question.options;
  if (answer.length <= max || first === undefined) return [];
  return [{ is: "too many", option: first.id, max, chosen: answer.length }];
}

function slipsOfPlaces(answer: string[], chosen: Chosen): Slip[] {
  const slips: Slip[] = [];
  let last = 0;
  for (const option of answer) {
    const place = Number(entryOf(chosen, option));
    if (place === last) slips.push({ is: "same place", option, place });
    else if (place > last + 1) slips.push({ is: "gap", option, place: last + 1 });
    last = place;
  }
  return slips;
}

/** The answers that `fields` make, by question; a question without one is left blank. */
export function answersOf(questions: readonly Question[], fields: Fields): Answers {
  return Object.fromEntries(
    questions.map((question) => [question.id, answerOf(question, chosenFor(fields, question))]),
  );
}
