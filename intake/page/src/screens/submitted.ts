// A vote was submitted here, and no answer to it is known any more: nothing is said that may be untrue.

import { h } from "../dom.ts";
import { text } from "../language.ts";
import type { Submitted } from "../screen.ts";
import { button, buttons, contact, elsewhere, type Shown, type View } from "./view.ts";

/** The screen of a page that knows no more than that. */
export function submittedScreen(view: View): Shown<Submitted> {
  const title = text("submitted.title");
  return {
    page: {
      name: "submitted",
      title,
      content: [
        h("h1", {}, title),
        h("p", {}, text("submitted.perhaps")),
        h("p", {}, text("submitted.again")),
        contact(view),
        buttons(button(text("refused.again"), () => view.flow.useAnotherCode(), "second")),
        elsewhere(view),
      ],
    },
  };
}
