// The voter's way through a ballot: start, questions, check, sending, and how it ends. Knows nothing of the document.
//
// Until Submit the voter may go back and forth; Submit seals once, and from then on there is only the sealed request.

import { type Access, askAccess } from "./access.ts";
import { Code, CodeMistyped } from "./code.ts";
import { delivery, sealedVote } from "./delivery.ts";
import { Draft } from "./draft.ts";
import type { Bytes } from "./encoding.ts";
import { type Chosen, slipsOf } from "./fields.ts";
import type { Sealed } from "./memory.ts";
import { type OtherCode, otherCode } from "./other.ts";
import { endOf, isEnding, type Place, placeOf } from "./places.ts";
import { type Ending, type Screen, type Start, tooLate, type World } from "./screen.ts";
import type { Sending } from "./sending.ts";

/** One voter's way. */
export class Flow {
  readonly #world: World;
  readonly #draft: Draft;
  #screen: Screen = { is: "start", held: false, slip: null, typed: "", access: "idle", opens: null };
  #changing = false;
  #sending: Sending | null = null;
  #other: OtherCode | null = null;
  /** Counts what makes an answer that is still awaited meaningless. */
  #turn = 0;

  constructor(world: World) {
    this.#world = world;
    this.#draft = new Draft(world.ballot.questions, world.memory);
  }

  /** Whether another code was opened while a vote was on its way. */
  get other(): boolean {
    return this.#other !== null;
  }

  /** Begins, or goes on where the voter was: with the code in the link, if any, and the history's entry, if any. */
  async begin(link: string | null, place: Place | null): Promise<void> {
    const { memory, places, closed } = this.#world;
    this.#turn += 1;
    this.#other = null;
    const kept = memory.read();
    if (kept?.is === "sealed") {
      places.replace({ at: "sent" });
      this.#send(kept, { kept: true, resumed: true });
      return link === null ? undefined : this.#keepOther(link);
    }
    if (kept?.is === "ended") memory.forget(); // it was only carried into the other language
    const end = link === null ? endOf(kept, place) : null;
    if (end !== null) return this.#end(end);
    if (closed !== null) return this.#finish(tooLate(closed));
    if (kept?.is === "answering" && !this.#draft.resume(kept)) memory.forget();
    if (link !== null && !(await this.#taken(link))) return;
    const step = place?.at === "step" ? place.step : kept?.is === "answering" ? kept.step : 0;
    this.#arrive(step, place?.at === "step" && place.changing, place !== null && place.at !== "step");
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

  /** Forgets the code and every answer, and begins again: with the code that was opened meanwhile, if one was. */
  useAnotherCode(): void {
    const [screen, other] = [this.#screen, this.#other];
    if (screen.is !== "start" && !isEnding(screen)) return;
    this.#forget();
    this.#other = null;
    if (other !== null && other.seed !== null) this.#draft.take(other.seed);
    if (screen.is === "start") this.#arrive(0);
    else this.#goTo(0);
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
    this.fill(index, chosen);
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
    this.#show({ is: "sending", progress: null, kept: true });
    const sealed = await sealedVote(this.#world, seed, answers).catch(() => null);
    // Nothing was sent then, and a reload finds the answers.
    if (sealed === null) return this.#show({ is: "stopped", why: "device" });
    const kept = this.#world.memory.keep(sealed);
    this.#draft.drop();
    this.#world.places.push({ at: "sent" });
    this.#send(sealed, { kept, resumed: false });
  }

  /** The voter asks for a try now (`tryNow`), or the device is connected again (`online`). */
  hurry(why: "tryNow" | "online"): void {
    this.#sending?.[why]();
  }

  /** The voter went back or forward to `place`. Nothing leads back into answers after Submit. */
  travelled(place: Place): void {
    const screen = this.#screen;
    if (screen.is === "stopped") return;
    if (placeOf(screen) !== null) return this.#end(screen);
    this.#turn += 1;
    // The receipt of another voter who used this tab before is shown to nobody who has begun to vote.
    const end = this.#draft.seed === null ? endOf(null, place) : null;
    if (end !== null) return this.#end(end);
    if (place.at === "step") this.#arrive(place.step, place.changing);
    else this.#arrive(0, false, true);
  }

  /** The page was asleep and is shown again: another page of this tab may have voted meanwhile. */
  async woken(place: Place | null): Promise<void> {
    if (this.#screen.is === "stopped" || placeOf(this.#screen) !== null) return;
    this.#draft.drop();
    await this.begin(null, place);
  }

  /** A link with a code was opened on this page. A vote on its way is finished first. */
  async opened(link: string): Promise<void> {
    const { is } = this.#screen;
    if (is !== "stopped")
      await (is === "sending" || is === "unconfirmed" ? this.#keepOther(link) : this.begin(link, null));
  }

  /** The voter changes the language, which loads the page anew: how it ended is carried along. */
  translated(): void {
    const screen = this.#screen;
    if (isEnding(screen)) this.#world.memory.keep({ is: "ended", end: screen });
  }

  async #ask(seed: Bytes, turn: number): Promise<void> {
    const access: Access = await askAccess(this.#world, seed).catch(() => ({ is: "unfit" }));
    if (turn !== this.#turn) return;
    if (access.is === "unfit") return this.#show({ is: "stopped", why: "device" });
    if (access.is === "ready") return this.#goTo(1);
    if (access.is === "refused") return this.#finish({ is: "refused", refusal: access.refusal, sent: false });
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

  #send(sealed: Sealed, how: { kept: boolean; resumed: boolean }): void {
    const show = (screen: Screen): void => this.#show(screen);
    const ended = (ending: Ending): void => this.#finish(ending);
    this.#sending = delivery(this.#world, sealed, how, { show, ended });
    this.#sending.start();
  }

  /** Another voter's link was opened: the vote on its way comes first, and the page says so. */
  async #keepOther(link: string): Promise<void> {
    this.#other = (await otherCode(this.#world, link)) ?? this.#other;
    if (placeOf(this.#screen) !== null) this.#show(this.#screen);
  }

  /** It has ended: nothing is kept. */
  #finish(ending: Ending): void {
    this.#forget();
    this.#end(ending);
  }

  /** Shows a screen that a vote has from Submit on, and says so in the history. */
  #end(screen: Screen): void {
    const place = placeOf(screen);
    if (place !== null) this.#world.places.replace(place);
    this.#show(screen);
  }

  /** Goes on to `step`, so that Back leads here. */
  #goTo(step: number, changing = false): void {
    this.#draft.reach(step);
    this.#world.places.push({ at: "step", step, changing });
    this.#arrive(step, changing);
  }

  /** Shows `step`, or the nearest one where the voter may be; `over` where the history says that a vote was sent. */
  #arrive(step: number, changing = false, over = false): void {
    const draft = this.#draft;
    const at = draft.within(step);
    this.#changing = changing && at === step;
    draft.keep(at);
    this.#world.places.replace(over ? { at: "sent" } : { at: "step", step: at, changing: this.#changing });
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
