// The vote until Submit: the key's seed, what stands in the forms, and how far the voter has come. Every change is
// remembered at once, so that a phone that throws the page away loses nothing.

import type { Answers } from "./answers.ts";
import type { Question } from "./ballot.ts";
import { SEED_BYTES } from "./credential.ts";
import { b64url, type Bytes, fromB64url } from "./encoding.ts";
import { answersOf, type Chosen, chosenFor, type Fields, type Slip, slipsOf } from "./fields.ts";
import type { Answering, Memory } from "./memory.ts";
import type { Asked, Check } from "./screen.ts";

/** One vote being made. Steps: 0 the start, then the questions, then the check. */
export class Draft {
  readonly #questions: readonly Question[];
  readonly #memory: Memory;
  #seed: Bytes | null = null;
  #fields: Fields = {};
  #reached = 0;

  constructor(questions: readonly Question[], memory: Memory) {
    this.#questions = questions;
    this.#memory = memory;
  }

  /** The seed of the voter's key, if there is a code. */
  get seed(): Bytes | null {
    return this.#seed;
  }

  /** How far the voter has come: a question not reached yet has not been left blank. */
  get reached(): number {
    return this.#reached;
  }

  /** The step of the check. */
  get last(): number {
    return this.#questions.length + 1;
  }

  /** The answers as they stand. */
  get answers(): Answers {
    return answersOf(this.#questions, this.#fields);
  }

  /** What is shown at `step`, which is not the start: the check only once there is nothing to put right. */
  screen(step: number): Asked | Check {
    const wrong = step === this.last ? this.#questions.findIndex((one) => this.#slips(one).length > 0) : -1;
    const index = wrong === -1 ? step - 1 : wrong;
    const question = this.#questions[index];
    if (question === undefined) return { is: "check", fields: this.#fields };
    const slips = wrong === -1 ? [] : this.#slips(question);
    return { is: "question", index, chosen: chosenFor(this.#fields, question), slips };
  }

  /** Takes up what was remembered; false if it is not what this page wrote. */
  resume(kept: Answering): boolean {
    this.drop();
    try {
      this.#seed = fromB64url(kept.seed, SEED_BYTES);
    } catch {
      return false;
    }
    this.#fields = kept.fields;
    this.#reached = Math.min(kept.reached, this.last);
    return true;
  }

  /** Begins anew with `seed`; with the same one as before, goes on. */
  take(seed: Bytes): void {
    if (this.#seed !== null && b64url(seed) === b64url(this.#seed)) return;
    this.drop();
    this.#seed = seed;
    this.keep(0);
  }

  /** What stands in the form of `question` now; the voter is there. */
  fill(question: Question, chosen: Chosen): void {
    this.#fields = { ...this.#fields, [question.id]: chosen };
    this.keep(this.#questions.indexOf(question) + 1);
  }

  /** The voter may go as far as `step`. */
  reach(step: number): void {
    this.#reached = Math.max(this.#reached, Math.min(step, this.last));
  }

  /** The nearest to `step` where the voter may be. */
  within(step: number): number {
    return this.#seed === null ? 0 : Math.min(Math.max(step, 0), this.#reached);
  }

  /** Remembers everything, and that the voter is at `step`. */
  keep(step: number): void {
    if (this.#seed === null) return;
    const seed = b64url(this.#seed);
    this.#memory.keep({ is: "answering", seed, fields: this.#fields, step, reached: this.#reached });
  }

  #slips(question: Question): Slip[] {
    return slipsOf(question, chosenFor(this.#fields, question));
  }

  /** Drops code and answers; what is remembered stays. */
  drop(): void {
    this.#seed?.fill(0);
    this.#seed = null;
    this.#fields = {};
    this.#reached = 0;
  }
}
