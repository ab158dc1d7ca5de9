// On its way: the voter always knows that it is not received yet and that the page goes on trying. A screen reader is
// told when something changes, and not at every try.

import { h } from "../dom.ts";
import { text, type TextKey } from "../language.ts";
import type { OnItsWay } from "../screen.ts";
import type { Progress } from "../sending.ts";
import type { Cause } from "../server.ts";
import { button, buttons, contact, type Shown, type View } from "./view.ts";

const CAUSES: Readonly<Record<Cause, TextKey>> = {
  lost: "sending.lost",
  slow: "sending.slow",
  busy: "sending.busy",
};

/** The sending screen; it is changed in place for as long as the sending takes. */
export function sendingScreen(screen: OnItsWay, view: View): Shown<OnItsWay> {
  const title = text("sending.title");
  const status = h("p", { role: "status", class: "progress" });
  const tries = h("p", { class: "quiet" });
  const now = h(
    "div",
    { hidden: true },
    buttons(button(text("sending.now"), () => view.flow.tryNow(), "second")),
  );
  const update = ({ progress, kept }: OnItsWay): boolean => {
    if (kept !== screen.kept) return false;
    say(status, progress);
    const again = progress !== null && progress.cause !== null;
    tries.textContent = again ? text("sending.tries", { tries: progress.tries }) : "";
    now.hidden = !again;
    return true;
  };
  update(screen);
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
        now,
        tries,
        contact(view),
      ],
    },
    update,
  };
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
