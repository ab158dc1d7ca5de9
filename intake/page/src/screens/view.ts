// What every screen is made from, and the lines that several of them have.

import { type Ballot, languageOf, shown, type Text } from "../ballot.ts";
import { type Child, contactLinks, h, type Screen as Page } from "../dom.ts";
import { button } from "../form.ts";
import type { Flow } from "../flow.ts";
import { here, language, text } from "../language.ts";

/** What the page knows besides the screen itself. */
export interface View {
  ballot: Ballot;
  /** The voter's way, whose steps the buttons are. */
  flow: Flow;
  /** When the ballot opens and closes as the server has it now, and whether it is open. */
  window: { opens: string; closes: string; state: string };
  /** The id of the desk's key, 16 hex digits. */
  fingerprint: string;
  pageVersion: string;
}

/** A page to show; `update` changes it in place, and says whether it could. */
export interface Shown<Screen> {
  page: Page;
  update?: (next: Screen) => boolean;
}

/** The ballot's own words in the page's language, as text alone. */
export function own(words: Text): string {
  return shown(words, language());
}

/** The same on a screen: words in another language say so, so that a screen reader speaks them in it. */
export function said(words: Text): Child {
  const spoken = languageOf(words, language());
  return spoken === language() ? own(words) : h("span", { lang: spoken }, own(words));
}

/** Whom to ask. */
export function contact({ ballot }: View): HTMLElement {
  const spoken = languageOf(ballot.contact, language());
  return h(
    "p",
    {},
    `${text("contact.ask")}: `,
    h("strong", {}, said(ballot.scrutineer)),
    ", ",
    contactLinks(own(ballot.contact), spoken === language() ? undefined : spoken),
  );
}

/** Says that another code was opened while a vote was on its way; at the vote's end, it can be voted with. */
export function otherCode({ flow }: View, key: "sending.other" | "done.other"): Child {
  if (!flow.other) return null;
  const use = (): void => flow.useAnotherCode();
  return h(
    "div",
    { class: "note" },
    h("p", {}, text(key)),
    key === "done.other" ? buttons(button(text("done.use_other"), use)) : null,
  );
}

/** A link to another page of this ballot. */
export function link({ ballot }: View, page: "about" | "check" | "complaint", words: string): HTMLElement {
  return h("a", { href: here(`/b/${ballot.id}/${page}`) }, words);
}

/** Where a voter whose vote may have been received can ask about it, and complain. */
export function elsewhere(view: View): HTMLElement {
  return h(
    "ul",
    { class: "links" },
    h("li", {}, link(view, "check", text("check.nav"))),
    h("li", {}, link(view, "complaint", text("complaint.nav"))),
  );
}

/** A button that reads as the step back it is. */
export function back(press: () => void): HTMLElement {
  return h("button", { type: "button", class: "back", onclick: press }, text("question.back"));
}

/** A form that keeps to this page: Enter and its first button do the same. */
export function form(submit: () => void, ...children: readonly Child[]): HTMLFormElement {
  const onsubmit = (event: Event): void => {
    event.preventDefault();
    submit();
  };
  return h("form", { novalidate: true, autocomplete: "off", onsubmit }, ...children);
}

/** Buttons beside one another. */
export function buttons(...children: readonly (HTMLElement | null)[]): HTMLElement {
  return h("div", { class: "buttons" }, ...children);
}

export { button };
