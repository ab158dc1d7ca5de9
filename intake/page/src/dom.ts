// Screens, made node by node: there is no way through here for a text to become markup.
//
// A screen replaces what <main> shows, sets the document's title and moves the focus to its heading, or, where something
// needs mending, to the error summary, whose links lead to the fields; the first screen leaves it where the browser
// has it, so that a page that opens is read from its beginning. The line that says whether the vote has been sent
// stays in place between screens, so that a screen reader announces its change.

import { text } from "./language.ts";

export type Child = Node | string | false | null | undefined;
export type Attributes = Readonly<
  Record<string, string | number | boolean | null | undefined | ((event: Event) => void)>
>;

/** What is wrong with one field; `field` is the id of the control the voter should go to. */
export interface Problem {
  field: string;
  message: string;
}

export type VoteState = "not-sent" | "sending" | "received";

/** One thing per page. `title` must never hold a choice: it is in the history and on the task bar. */
export interface Screen {
  name: string;
  title: string;
  content: readonly Child[];
  question?: string;
  state?: VoteState;
  problems?: readonly Problem[];
}

const FIRST_HEADING = "h1";

/** A new element; an attribute that is a function listens (`onclick`), true is an empty one, false and null are left out. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice("on".length), value);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...present(children));
  return element;
}

const present = (children: readonly Child[]): (Node | string)[] =>
  children.filter((child): child is Node | string => child instanceof Node || typeof child === "string");

/** Shows `screen` in `main` instead of what was there. */
export function show(main: HTMLElement, screen: Screen): void {
  const problems = screen.problems ?? [];
  const summary = problems.length > 0 ? errorSummary(problems) : null;
  const state = stateLine(main, screen.state);
  const first = main.dataset["screen"] === "loading";
  main.dataset["screen"] = screen.name;
  if (screen.question === undefined) {
    delete main.dataset["question"];
  } else {
    main.dataset["question"] = screen.question;
  }
  for (const node of [...main.childNodes]) {
    if (node !== state) {
      node.remove();
    }
  }
  main.append(...present([summary, ...screen.content]));
  document.title = pageTitle(screen.title, problems.length > 0);
  const heading = main.querySelector<HTMLElement>(FIRST_HEADING);
  heading?.setAttribute("tabindex", "-1");
  if (first && summary === null) {
    return;
  }
  (summary ?? heading)?.focus();
  if (summary === null) {
    window.scrollTo(0, 0);
  }
}

/** Takes away what told of slips, once what was put in is taken: `main` otherwise stays as it is. */
export function mended(main: HTMLElement): void {
  for (const told of main.querySelectorAll(".errors, p.error")) told.remove();
  for (const field of main.querySelectorAll(".faulty")) field.classList.remove("faulty");
  for (const control of main.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  const faulty = errorPrefix();
  if (document.title.startsWith(faulty)) document.title = document.title.slice(faulty.length);
}

const errorPrefix = (): string => `${text("errors.prefix")} `;

const pageTitle = (title: string, faulty: boolean): string =>
  (faulty ? errorPrefix() : "") + `${title} – ${text("frame.service")}`;

const STATES = {
  "not-sent": "state.not_sent",
  sending: "state.sending",
  received: "state.received",
} as const;

/** Says in `main`'s status line where the vote is; without a state there is no such line. */
export function stateLine(main: HTMLElement, state: VoteState | undefined): HTMLElement | null {
  let line = main.querySelector<HTMLElement>("[data-state]");
  if (state === undefined) {
    line?.remove();
    return null;
  }
  if (line === null) {
    line = h("p", { class: "state", role: "status" });
    main.prepend(line);
  }
  if (line.dataset["state"] !== state) {
    line.dataset["state"] = state;
    line.replaceChildren(text(STATES[state]));
  }
  return line;
}

/** The list of what needs mending, each entry a link that moves the focus to its field. */
export function errorSummary(problems: readonly Problem[]): HTMLElement {
  const link = ({ field, message }: Problem): HTMLElement => {
    const go = (event: Event): void => {
      event.preventDefault();
      const control = document.getElementById(field);
      control?.scrollIntoView({ block: "center" });
      control?.focus();
    };
    return h("li", {}, h("a", { href: `#${field}`, onclick: go }, message));
  };
  return h(
    "div",
    { class: "errors", role: "alert", tabindex: "-1", "aria-labelledby": "errors-title" },
    h("h2", { id: "errors-title" }, text("errors.title")),
    h("ul", {}, ...problems.map(link)),
  );
}

/** A reference or number in groups: shown as written, read aloud symbol by symbol with a rest between groups. */
export function spelled(grouped: string): HTMLElement {
  const aloud = grouped
    .split("-")
    .map((symbols) => [...symbols].join(" "))
    .join(", ");
  const written = grouped
    .split("-")
    .flatMap((symbols, index) => (index === 0 ? [symbols] : ["-", h("wbr"), symbols]));
  return h(
    "span",
    { class: "reference" },
    h("span", { "aria-hidden": "true" }, ...written),
    h("span", { class: "unseen" }, aloud),
  );
}

const REACHABLE = /([^\s,;<>()]+@[^\s,;<>()]+\.[a-z]{2,})|(\+?[0-9][0-9 ()-]{7,}[0-9])/gi;

/** The scrutineer's contact, its e-mail address and telephone numbers as links; `lang` if it is in another language. */
export function contactLinks(contact: string, lang?: string): HTMLElement {
  const parts: Child[] = [];
  let done = 0;
  for (const match of contact.matchAll(REACHABLE)) {
    const [found, email] = match;
    const target =
      email === undefined
        ? `tel:${found.replace(/^(\+.*)\(0\)/, "$1").replace(/[^+0-9]/g, "")}`
        : `mailto:${email}`;
    parts.push(contact.slice(done, match.index), h("a", { href: target }, found));
    done = match.index + found.length;
  }
  return h("span", { class: "contact", lang }, ...parts, contact.slice(done));
}
