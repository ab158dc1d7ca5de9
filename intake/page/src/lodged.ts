// A complaint that was received: its number, to be kept. It stays through a reload and a change of language.

import { type Child, h, show, spelled } from "./dom.ts";
import { footerContact } from "./footer.ts";
import { button } from "./form.ts";
import { here, text } from "./language.ts";
import type { Drafts } from "./lodging.ts";
import { leadsAway } from "./taps.ts";

const SAVED_MILLISECONDS = 60_000;

/** Shows `number`, which from now on belongs to this entry of the browser's history, until there is `another`. */
export function lodged(
  main: HTMLElement,
  number: string,
  ballot: string | null,
  kept: Drafts,
  another: () => void,
): void {
  const forget = remember(number, kept);
  const anew = (): void => {
    forget();
    another();
  };
  const title = text("complaint.done_title");
  const more: Child[] =
    ballot === null ? [] : [h("p", {}, h("a", { href: here(`/b/${ballot}`) }, text("complaint.back")))];
  show(main, {
    name: "done",
    title,
    content: [
      h(
        "div",
        { class: "panel" },
        h("h1", {}, title),
        h("p", {}, text("complaint.number")),
        h("p", {}, spelled(number)),
      ),
      h("p", {}, text("complaint.done_keep")),
      h("p", {}, text("complaint.done_next")),
      h(
        "div",
        { class: "buttons" },
        button(text("complaint.save"), () => save(number)),
        button(text("complaint.print"), () => print(), "second"),
        button(text("complaint.another"), anew, "second"),
      ),
      ...more,
    ],
  });
}

function remember(number: string, kept: Drafts): () => void {
  belongsHere({ number });
  const click = (event: MouseEvent): void => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || !leadsAway(event)) return;
    if (link.hreflang !== "") kept.carry(number);
    else if (link.href === location.href) belongsHere(null); // this very page again: for another complaint
  };
  document.addEventListener("click", click);
  return () => {
    document.removeEventListener("click", click);
    belongsHere(null);
  };
}

/** What a reload of this page finds again; a browser that keeps nothing only loses it with the reload. */
function belongsHere(state: { number: string } | null): void {
  try {
    history.replaceState(state, "");
  } catch {
    // As it says above.
  }
}

function save(number: string): void {
  const lines = [
    text("complaint.done_title"),
    `${text("complaint.number")}: ${number}`,
    text("complaint.done_keep"),
    `${text("contact.ask")}: ${footerContact().textContent ?? ""}`,
  ];
  const file = new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/plain;charset=utf-8" });
  const address = URL.createObjectURL(file);
  h("a", { href: address, download: `complaint-${number}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(address), SAVED_MILLISECONDS);
}
