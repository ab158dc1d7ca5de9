// A final refusal: what it was, and what to do next. Nothing is sent any more, and nothing is kept.

import { type Child, h } from "../dom.ts";
import { text, type TextKey } from "../language.ts";
import type { Refused } from "../screen.ts";
import type { RefusalName } from "../server.ts";
import { inLondon } from "../times.ts";
import { button, buttons, contact, elsewhere, otherCode, type Shown, type View } from "./view.ts";

type Reason = Exclude<RefusalName, "not_open"> | "closed" | "early" | "used";

const TITLES: Readonly<Record<Reason, TextKey>> = {
  closed: "refused.closed",
  early: "refused.early",
  used: "refused.used",
  not_accepted: "refused.not_accepted",
  not_found: "refused.not_found",
  malformed: "refused.malformed",
  method_not_allowed: "refused.method_not_allowed",
  too_large: "refused.too_large",
  unsupported_type: "refused.unsupported_type",
};
const NEXT: Readonly<Record<Reason, TextKey>> = {
  closed: "refused.closed_next",
  early: "refused.early_next",
  used: "refused.used_next",
  not_accepted: "refused.not_accepted_next",
  not_found: "refused.not_found_next",
  malformed: "refused.malformed_next",
  method_not_allowed: "refused.method_not_allowed_next",
  too_large: "refused.too_large_next",
  unsupported_type: "refused.unsupported_type_next",
};

/** The screen of a refusal. */
export function refusedScreen(screen: Refused, view: View): Shown<Refused> {
  const reason = reasonOf(screen);
  const title = text(TITLES[reason]);
  const closed = reason === "closed";
  return {
    page: {
      name: "refused",
      title,
      // A vote that was sent may have arrived, and so may one of last week: there is no line that says where it is.
      content: [
        h("h1", {}, title),
        when(screen),
        h("p", {}, text(NEXT[reason])),
        screen.sent ? h("p", {}, text("refused.sent")) : null,
        contact(view),
        otherCode(view, "done.other"),
        closed || view.flow.other
          ? null
          : buttons(button(text("refused.again"), () => view.flow.useAnotherCode(), "second")),
        elsewhere(view),
      ],
    },
  };
}

function reasonOf({ refusal, sent }: Refused): Reason {
  if (refusal.name === "not_open") return refusal.early === true ? "early" : "closed";
  return refusal.name === "not_accepted" && sent ? "used" : refusal.name;
}

function when({ refusal: { name, early, opens, closes } }: Refused): Child {
  if (name !== "not_open") return null;
  if (early === true) return opens && h("p", {}, text("start.early_when", { opens: inLondon(opens) }));
  return closes && h("p", {}, text("refused.closed_when", { closes: inLondon(closes) }));
}
