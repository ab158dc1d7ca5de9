// Entry of the complaint page: what is written is sealed on this device and sent until it has its number.

import { deviceClock } from "./clock.ts";
import { COMPLAINT_BYTES_MAX, complaintBytes, sealComplaint } from "./complaint.ts";
import { h, type Problem, show } from "./dom.ts";
import { fromB64url } from "./encoding.ts";
import { footerContact } from "./footer.ts";
import { button, field } from "./form.ts";
import { given } from "./given.ts";
import { text, type TextKey } from "./language.ts";
import { lodged } from "./lodged.ts";
import { type Draft, drafts, lodge, NOTHING, numberIn, sealedAs } from "./lodging.ts";
import { type Progress, Sending } from "./sending.ts";
import type { Cause } from "./server.ts";

const TEXT = "text";
const CONTACT = "contact";
const DESK_KEY_BYTES = 32;
/** Said to screen readers only after a pause in typing. */
const COUNT_MILLISECONDS = 1_500;
/** After a new screen, so that a screen reader hears of the change. */
const SAID_MILLISECONDS = 300;
const KEPT = "kept";

const CAUSES: Record<Cause, TextKey> = {
  slow: "complaint.cause_slow",
  lost: "complaint.cause_lost",
  busy: "complaint.cause_busy",
  unclear: "complaint.cause_unclear",
  unconfirmed: "complaint.cause_unclear",
};

const line = { fetch: (url: string, request: RequestInit) => fetch(url, request), clock: deviceClock };
const page = given();
const ballot = typeof page["ballot"] === "string" ? page["ballot"] : null;
const kept = drafts(ballot, () => sessionStorage);

const left = ({ text: words, contact }: Draft): number =>
  COMPLAINT_BYTES_MAX - complaintBytes(words, contact);

const told = (count: number): string =>
  count < 0 ? text("complaint.over", { count: -count }) : text("complaint.left", { count });

function problemsOf(draft: Draft): Problem[] {
  if (draft.text === "") return [{ field: TEXT, message: text("complaint.slip_empty") }];
  const over = -left(draft);
  return over > 0 ? [{ field: TEXT, message: text("complaint.slip_long", { count: over }) }] : [];
}

/** The form, with what was written so far; `said` is told once it is there. */
function write(main: HTMLElement, draft: Draft, problems: readonly Problem[] = [], said?: string): void {
  const words = h("textarea", { id: TEXT, rows: 10 }, draft.text);
  // Not "email": it may be any way to be reached, and the browser would keep it for whoever has the device next.
  const reach = h("input", { id: CONTACT, type: "text", value: draft.contact, autocomplete: "off" });
  const count = h("p", { class: "hint", id: "left" }, told(left(draft)));
  const aloud = h("p", { class: "unseen", role: "status" });
  const current = (): Draft => ({ text: words.value.trim(), contact: reach.value.trim() });
  let cancel = (): void => undefined;
  const typed = (): void => {
    kept.keep({ text: words.value, contact: reach.value });
    const said = told(left(current()));
    count.replaceChildren(said);
    cancel();
    cancel = deviceClock.after(COUNT_MILLISECONDS, () => aloud.replaceChildren(said));
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    cancel();
    const slips = problemsOf(current());
    if (slips.length > 0) write(main, current(), slips);
    else submitted(main, current(), sealedAs(draft, current()));
  };
  const clear = (): void => {
    cancel();
    kept.forget();
    write(main, NOTHING, [], text("complaint.cleared"));
  };
  const sender = button(text("complaint.send"));
  reach.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault(); // what is sent cannot be had back: the button is pressed by itself
    sender.focus();
  });
  const [problem] = problems;
  show(main, {
    name: "form",
    title: text("complaint.title"),
    problems,
    content: [
      h("h1", {}, text("complaint.title")),
      h("p", {}, text("complaint.what")),
      h("p", {}, text("complaint.who")),
      h("p", { class: "note" }, text("complaint.never")),
      h(
        "form",
        { novalidate: true, onsubmit: submit, oninput: typed },
        field(words, {
          label: text("complaint.text"),
          hint: text("complaint.text_hint"),
          error: problem?.message,
          describedBy: [count.id],
        }),
        count,
        aloud,
        field(reach, { label: text("complaint.contact"), hint: text("complaint.contact_hint") }),
        h("p", { class: "hint", id: KEPT }, text("complaint.kept")),
        h("div", { class: "buttons" }, sender, clearing(clear)),
      ),
      directly(),
    ],
  });
  if (said !== undefined) cancel = deviceClock.after(SAID_MILLISECONDS, () => aloud.replaceChildren(said));
}

function clearing(clear: () => void): HTMLElement {
  const made = button(text("complaint.clear"), clear, "second");
  made.setAttribute("aria-describedby", KEPT);
  return made;
}

/** Whom to ask instead. */
function directly(): HTMLElement {
  if (ballot === null) return h("p", {}, text("complaint.nowhere"));
  return h("p", {}, `${text("complaint.directly")} `, footerContact());
}

/** Sends what was sealed, if these words were; else seals them first. */
function submitted(main: HTMLElement, words: Draft, body: string | null): void {
  if (body === null) return void seal(main, words);
  kept.keep({ ...words, body });
  send(main, { ...words, body }, body, false); // what was refused before was refused for certain
}

let sealing = false;

async function seal(main: HTMLElement, draft: Draft): Promise<void> {
  if (sealing) return;
  sealing = true;
  wait(main, null);
  try {
    const deskKey = fromB64url(String(page["desk_key"]), DESK_KEY_BYTES);
    const { body } = await sealComplaint(draft, page["complaints_key"], deskKey, ballot);
    kept.keep({ ...draft, body });
    send(main, { ...draft, body }, body, false);
  } catch {
    stop(main, draft, "complaint.stopped");
  } finally {
    sealing = false;
  }
}

/** Sends `body` until it is answered; `resumed` if it was sent before. */
function send(main: HTMLElement, draft: Draft, body: string, resumed: boolean): void {
  const sending = new Sending<string>(
    body,
    { cast: (request) => lodge(request, line), clock: deviceClock, random: Math.random },
    {
      told: (progress) => wait(main, progress, () => sending.tryNow()),
      ended: (end) => {
        removeEventListener("online", online);
        if (end.is === "received") {
          kept.forget();
          received(main, end.receipt);
        } else {
          kept.keep({ ...draft, stopped: true });
          stop(main, draft, "complaint.refused");
        }
      },
    },
    resumed,
  );
  const online = (): void => sending.online();
  addEventListener("online", online);
  sending.start();
}

const received = (main: HTMLElement, number: string): void =>
  lodged(main, number, ballot, kept, () => write(main, kept.read()));

/** On its way. The screen stays the same through all tries: only its status line and button change. */
function wait(main: HTMLElement, progress: Progress | null, tryNow?: () => void): void {
  if (main.dataset["screen"] !== "sending") {
    const title = text("complaint.sending_title");
    show(main, {
      name: "sending",
      title,
      content: [
        h("h1", {}, title),
        h("div", { class: "busy" }),
        h("p", { id: "progress", role: "status" }),
        h("p", {}, text("complaint.sending_stay")),
        h("div", { id: "now" }),
        directly(),
      ],
    });
  }
  const cause = progress?.cause ?? null;
  const said = cause === null ? text("complaint.sending") : text(CAUSES[cause]);
  const status = document.getElementById("progress");
  if (status !== null && status.textContent !== said) status.replaceChildren(said);
  const now = document.getElementById("now");
  if (now !== null && tryNow !== undefined && cause !== null && now.firstChild === null) {
    now.append(button(text("complaint.try_now"), tryNow, "second"));
  }
}

/** Nothing was sent; what was written can be had back. */
function stop(
  main: HTMLElement,
  draft: Draft | null,
  why: TextKey,
  heading: TextKey = "complaint.stopped_title",
): void {
  const title = text(heading);
  show(main, {
    name: "stopped",
    title,
    content: [
      h("h1", {}, title),
      h("p", {}, text(why)),
      directly(),
      draft !== null && button(text("complaint.again"), () => write(main, draft), "second"),
    ],
  });
}

function start(main: HTMLElement): void {
  const draft = kept.read();
  const number = kept.carried() ?? numberIn(history.state);
  if (number !== null) received(main, number);
  else if (draft.body !== undefined && draft.stopped !== true) send(main, draft, draft.body, true);
  else if (page["complaints_key"] === null || page["complaints_key"] === undefined)
    stop(main, null, "complaint.not_ready", "complaint.not_ready_title");
  else write(main, draft);
}

const main = document.getElementById("main");
if (main !== null) start(main);
