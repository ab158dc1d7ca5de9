// The voter's way through a ballot: start, questions, check, sending, and how it ends. Knows nothing of the document.
//
// Until Submit the voter may go back and forth; Submit seals once, and from then on there is only the sealed request.

import { type Access, askAccess } from "./access.ts";
import { Code, CodeMistyped } from "./code.ts";
import { Draft } from "./draft.ts";
import type { Bytes } from "./encoding.ts";
import { type Chosen, slipsOf } from "./fields.ts";
import type { Sealed } from "./memory.ts";
import { endOf, type Place } from "./places.ts";
import type { Screen, Start, World } from "./screen.ts";
import { type End, Sending } from "./sending.ts";
import type { Refusal } from "./server.ts";

/** One voter's way. */
export class Flow {
  readonly #world: World;
  readonly #draft: Draft;
  #screen: Screen = { is: "start", held: false, slip: null, typed: "", access: "idle", opens: null };
  #changing = false;
  #sending: Sending | null = null;
  /** Counts what makes an answer that is still awaited meaningless. */
  #turn = 0;

  constructor(world: World) {
    this.#world = world;
    this.#draft = new Draft(world.ballot.questions, world.memory);
  }

  /** Begins, or goes on where the voter was: with the code in the link, if any, and the history's entry, if any. */
  async begin(link: string | null, place: Place | null): Promise<void> {
    const { memory, places, closed } = this.#world;
    this.#turn += 1;
    const kept = memory.read();
    if (kept?.is === "sealed") {
      places.replace({ at: "sent" });
      return this.#send(kept, true);
    }
    if (kept?.is === "ended") memory.forget(); // it was only carried into the other language
    const end = endOf(kept, place);
    if (link === null && end?.is === "done") places.replace({ at: "done", end });
    if (link === null && end !== null) return this.#show(end);
    if (closed !== null) return this.#refuse({ name: "not_open", closes: closed, early: false }, false);
    if (kept?.is === "answering" && !this.#draft.resume(kept)) memory.forget();
    if (link !== null && !(await this.#taken(link))) return;
    const step = place?.at === "step" ? place.step : kept?.is === "answering" ? kept.step : 0;
    this.#arrive(step, place?.at === "step" && place.changing);
  }

  /** Continue on the start screen: with what was typed, or null where the code is held already. */
  async start(typed: string | null): Promise<void> {
    if (this.#screen.is !== "start" || this.#screen.access === "asking") return;
    const turn = (this.#turn += 1);
    if (typed !== null && !(await this.#taken(typed))) return;
    if (turn !== this.#turn || this.#draft.seed === null) return;
    if (this.#draft.reached > 0) return this.#goTo(1);
    this.#showStart({ access: "asking" });
    await this.#ask(this.#draft.seed, turn);
  }

  /** Goes on although it is not known whether the code will be taken. */
  goOn(): void {
    if (this.#screen.is === "start" && this.#screen.access === "unsure") this.#goTo(1);
  }

  /** Forgets the code and every answer, and begins again. */
  useAnotherCode(): void {
    if (this.#screen.is !== "start" && this.#screen.is !== "refused") return;
    this.#forget();
    this.#arrive(0, false);
  }

  /** Remembers what stands in a question's form, before Continue is pressed. */
  fill(index: number, chosen: Chosen): void {
    const question = this.#world.ballot.questions[index];
    if (question !== undefined && this.#screen.is === "question") this.#draft.fill(question, chosen);
  }

  /** Continue on a question. */
  answer(index: number, chosen: Chosen): void {
    const question = this.#world.ballot.questions[index];
    if (question === undefined || this.#screen.is !== "question" || this.#screen.index !== index) return;
    this.#draft.fill(question, chosen);
    const slips = slipsOf(question, chosen);
    if (slips.length > 0) return this.#show({ is: "question", index, chosen, slips });
    this.#goTo(this.#changing ? this.#draft.last : index + 2);
  }

  /** Changes one answer, and comes back to the check. */
  change(index: number): void {
    if (this.#screen.is === "check") this.#goTo(index + 1, true);
  }

  /** The page's own step back, for browsers that show no button for it. */
  back(): void {
    const screen = this.#screen;
    if (screen.is === "question") this.#goTo(screen.index);
    if (screen.is === "check") this.#goTo(this.#draft.last - 1);
  }

  /** Seals and sends. Whatever is pressed again meanwhile finds another screen. */
  async submit(): Promise<void> {
    const { seed, answers } = this.#draft;
    if (this.#screen.is !== "check" || seed === null) return;
    const { ballot, crypto, memory, places } = this.#world;
    this.#show({ is: "sending", progress: null, kept: true });
    let sealed: Sealed;
    try {
      const { body, sealedSha256 } = await crypto.seal(ballot, await crypto.signer(seed), answers);
      sealed = { is: "sealed", body, sealedSha256 };
    } catch {
      return this.#show({ is: "stopped", why: "device" }); // nothing was sent, and a reload finds the answers
    }
    const kept = memory.keep(sealed);
    this.#draft.drop();
    places.push({ at: "sent" });
    this.#send(sealed, kept);
  }

  /** The voter asks for a try now. */
  tryNow(): void {
    this.#sending?.tryNow();
  }

  /** The device is connected again. */
  online(): void {
    this.#sending?.online();
  }

  /** The voter went back or forward to `place`. Nothing leads back into answers after Submit. */
  travelled(place: Place): void {
    const screen = this.#screen;
    if (screen.is === "stopped") return;
    if (screen.is === "done") this.#world.places.replace({ at: "done", end: screen });
    if (screen.is === "done" || screen.is === "sending" || screen.is === "refused") return this.#show(screen);
    this.#turn += 1;
    // The receipt of another voter who used this tab before is shown to nobody who has begun to vote.
    if (place.at === "done" && this.#draft.seed === null) return this.#show(place.end);
    this.#arrive(place.at === "step" ? place.step : 0, place.at === "step" && place.changing);
  }

  /** The page was asleep and is shown again: another page of this tab may have voted meanwhile. */
  async woken(place: Place | null): Promise<void> {
    const { is } = this.#screen;
    if (is !== "start" && is !== "question" && is !== "check") return;
    this.#draft.drop();
    await this.begin(null, place);
  }

  /** A link with a code was opened on this page. A vote on its way is finished first. */
  async opened(link: string): Promise<void> {
    if (this.#screen.is !== "sending" && this.#screen.is !== "stopped") await this.begin(link, null);
  }

  /** The voter changes the language, which loads the page anew: how it ended is carried along. */
  translated(): void {
    const screen = this.#screen;
    if (screen.is === "done" || screen.is === "refused") {
      this.#world.memory.keep({ is: "ended", end: screen });
    }
  }

  async #ask(seed: Bytes, turn: number): Promise<void> {
    let access: Access;
    try {
      access = await askAccess(this.#world, seed);
    } catch {
      return this.#show({ is: "stopped", why: "device" });
    }
    if (turn !== this.#turn) return;
    if (access.is === "ready") return this.#goTo(1);
    if (access.is === "refused") return this.#refuse(access.refusal, false);
    this.#showStart({ access: access.is, opens: access.is === "early" ? access.opens : null });
  }

  /** Whether `text` is a code, which is then held in place of any other; if not, the start screen says why. */
  async #taken(text: string): Promise<boolean> {
    const { crypto, ballot } = this.#world;
    try {
      this.#draft.take(await crypto.seedOf(Code.parse(text), ballot.id));
      return true;
    } catch (error) {
      if (error instanceof CodeMistyped) this.#showStart({ slip: error, typed: text });
      else this.#show({ is: "stopped", why: "device" });
      return false;
    }
  }

  #send({ body, sealedSha256 }: Sealed, kept: boolean): void {
    const { server, clock, random } = this.#world;
    const means = { cast: server.cast, clock, random };
    this.#sending = new Sending(body, means, {
      told: (progress) => this.#show({ is: "sending", progress, kept }),
      ended: (end) => void this.#finish(end, sealedSha256),
    });
    this.#sending.start();
  }

  async #finish(end: End, sealedSha256: string): Promise<void> {
    if (end.is === "refused") return this.#refuse(end.refusal, true);
    const { receipt } = end;
    const verified = await this.#world.crypto.verifyReceipt(receipt, sealedSha256).then(
      () => true,
      () => false,
    );
    this.#forget();
    this.#world.places.replace({ at: "done", end: { is: "done", receipt, verified } });
    this.#show({ is: "done", receipt, verified });
  }

  #refuse(refusal: Refusal, sent: boolean): void {
    this.#forget();
    this.#world.places.replace({ at: "step", step: 0, changing: false });
    this.#show({ is: "refused", refusal, sent });
  }

  /** Goes on to `step`, so that Back leads here. */
  #goTo(step: number, changing = false): void {
    this.#draft.reach(step);
    this.#world.places.push({ at: "step", step, changing });
    this.#arrive(step, changing);
  }

  /** Shows `step`, or the nearest one where the voter may be. */
  #arrive(step: number, changing: boolean): void {
    const draft = this.#draft;
    const at = draft.within(step);
    this.#changing = changing && at === step;
    draft.keep(at);
    this.#world.places.replace({ at: "step", step: at, changing: this.#changing });
    if (at === 0) return this.#showStart({});
    this.#show(draft.screen(at));
  }

  #showStart(more: Partial<Start>): void {
    const held = this.#draft.seed !== null;
    this.#show({ is: "start", held, slip: null, typed: "", access: "idle", opens: null, ...more });
  }

  #show(screen: Screen): void {
    this.#screen = screen;
    this.#world.show(screen);
  }

  #forget(): void {
    this.#turn += 1;
    this.#draft.drop();
    this.#sending = null;
    this.#world.memory.forget();
  }
}
