// On its way: the voter always knows that it is not received yet and that the page goes on trying. A screen reader is
// told when something changes, and not at every try.

import { h, spelled } from "../dom.ts";
import { text, type TextKey } from "../language.ts";
import type { OnItsWay, Unconfirmed } from "../screen.ts";
import type { Progress } from "../sending.ts";
import type { Cause } from "../server.ts";
import { button, buttons, contact, otherCode, type Shown, type View } from "./view.ts";

const CAUSES: Readonly<Record<Cause, TextKey>> = {
  lost: "sending.lost",
  slow: "sending.slow",
  busy: "sending.busy",
  unclear: "sending.unclear",
  unconfirmed: "sending.unconfirmed",
};

/** The sending screen; it is changed in place for as long as the sending takes. */
export function sendingScreen(screen: OnItsWay, view: View): Shown<OnItsWay> {
  const title = text("sending.title");
  const { status, tries, now, update } = live(screen, view);
  return {
    page: {
      name: "sending",
      title,
      state: "sending",
      content: [
        h("h1", {}, title),
        status,
        h("div", { class: "busy", "aria-hidden": "true" }),
        h("p", {}, text(screen.kept ? "sending.stay" : "sending.only_here")),
        h("p", {}, text("sending.once")),
        otherCode(view, "sending.other"),
        now,
        tries,
        contact(view),
      ],
    },
    update,
  };
}

/** Answered, but by whom is not certain: the reference is shown for what it is, and the vote is sent again. */
export function unconfirmedScreen(screen: Unconfirmed, view: View): Shown<Unconfirmed> {
  const title = text("unconfirmed.title");
  const { status, tries, now, update } = live(screen, view);
  const { reference } = screen.receipt;
  return {
    page: {
      name: "unconfirmed",
      title,
      state: "sending",
      content: [
        h("h1", {}, title),
        h("p", {}, text("unconfirmed.why")),
        h("p", {}, `${text("unconfirmed.reference")} `, spelled(reference)),
        h("div", { class: "warning" }, h("p", {}, text("unconfirmed.do")), contact(view)),
        status,
        h("p", {}, text(screen.kept ? "unconfirmed.stay" : "sending.only_here")),
        h("p", {}, text("sending.once")),
        otherCode(view, "sending.other"),
        now,
        tries,
      ],
    },
    update: (next) => next.receipt.reference === reference && update(next),
  };
}

type Going = Pick<OnItsWay, "progress" | "kept">;

/** What changes while the screen stays. */
function live(
  screen: Going,
  view: View,
): Record<"status" | "tries" | "now", HTMLElement> & { update: (next: Going) => boolean } {
  const status = h("p", { role: "status", class: "progress" });
  const tries = h("p", { class: "quiet" });
  const now = h(
    "div",
    { hidden: true },
    buttons(button(text("sending.now"), () => view.flow.hurry("tryNow"), "second")),
  );
  const { other } = view.flow;
  const update = ({ progress, kept }: Going): boolean => {
    if (kept !== screen.kept || other !== view.flow.other) return false;
    say(status, progress);
    const again = progress !== null && progress.cause !== null;
    tries.textContent = again ? text("sending.tries", { tries: progress.tries }) : "";
    now.hidden = !again;
    return true;
  };
  update(screen);
  return { status, tries, now, update };
}

function say(status: HTMLElement, progress: Progress | null): void {
  const key =
    progress === null
      ? "sending.sealing"
      : progress.cause === null
        ? "sending.first"
        : CAUSES[progress.cause];
  const words = text(key);
  if (status.textContent !== words) status.textContent = words;
}
