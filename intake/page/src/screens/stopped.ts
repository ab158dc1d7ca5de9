// Stopped: what the page needs is missing or untrue, so it sends nothing and says whom to ask.

import { h, type Screen as Page } from "../dom.ts";
import { footerContact } from "../footer.ts";
import { text, type TextKey } from "../language.ts";
import type { Stopped } from "../screen.ts";

const WHY: Readonly<Record<Stopped["why"], TextKey>> = {
  page: "stopped.page",
  ballot: "stopped.ballot",
  device: "stopped.device",
};

/** The screen on which nothing can be done here; `submitted` where a vote may have been sent before it was loaded. */
export function stoppedScreen({ why }: Stopped, submitted: boolean): Page {
  const title = text("stopped.title");
  return {
    name: "stopped",
    title,
    ...(submitted ? {} : { state: "not-sent" as const }),
    content: [
      h("h1", {}, title),
      h("p", {}, text(WHY[why])),
      h("p", {}, text(submitted ? "stopped.submitted" : "stopped.nothing_sent")),
      h("p", {}, `${text("contact.ask")}: `, footerContact()),
    ],
  };
}
