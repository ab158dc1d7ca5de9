// Stopped: what the page needs is missing or untrue, so it sends nothing and says whom to ask.

import { type Child, h, type Screen as Page } from "../dom.ts";
import { text, type TextKey } from "../language.ts";
import type { Stopped } from "../screen.ts";

const WHY: Readonly<Record<Stopped["why"], TextKey>> = {
  page: "stopped.page",
  ballot: "stopped.ballot",
  device: "stopped.device",
};

/** The screen on which nothing can be done here; `contact` only where the ballot is known to be true. */
export function stoppedScreen({ why }: Stopped, contact: Child): Page {
  const title = text("stopped.title");
  return {
    name: "stopped",
    title,
    state: "not-sent",
    content: [
      h("h1", {}, title),
      h("p", {}, text(WHY[why])),
      h("p", {}, text("stopped.nothing_sent")),
      contact ?? h("p", {}, text("contact.letter")),
    ],
  };
}
