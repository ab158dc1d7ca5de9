// What every screen is made from, and the lines that several of them have.

import { type Ballot, shown, type Text } from "../ballot.ts";
import { contactLinks, h, type Screen as Page } from "../dom.ts";
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

/** The ballot's own words in the page's language. */
export function own(words: Text): string {
  return shown(words, language());
}

/** Whom to ask. */
export function contact({ ballot }: View): HTMLElement {
  return h(
    "p",
    {},
    `${text("contact.ask")}: `,
    h("strong", {}, own(ballot.scrutineer)),
    ", ",
    contactLinks(own(ballot.contact)),
  );
}

/** A link to another page of this ballot. */
export function link({ ballot }: View, page: "about" | "check" | "complaint", words: string): HTMLElement {
  return h("a", { href: here(`/b/${ballot.id}/${page}`) }, words);
}

/** A button that reads as the step back it is. */
export function back(press: () => void): HTMLElement {
  return h("button", { type: "button", class: "back", onclick: press }, text("question.back"));
}

/** A form that keeps to this page: Enter and its first button do the same. */
export function form(submit: () => void, ...children: readonly (Node | null)[]): HTMLFormElement {
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
