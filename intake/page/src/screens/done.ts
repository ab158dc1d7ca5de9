// Received: the reference, when, what it proves and what it does not. Never the choice.

import { h, spelled } from "../dom.ts";
import { text } from "../language.ts";
import type { Done } from "../screen.ts";
import { inLondon } from "../times.ts";
import { button, buttons, link, otherCode, own, type Shown, type View } from "./view.ts";

/** The last screen. */
export function doneScreen({ receipt }: Done, view: View): Shown<Done> {
  const title = text("done.title");
  const digest = typeof receipt["sealed_sha256"] === "string" ? receipt["sealed_sha256"] : "";
  const time = inLondon(receipt.accepted_at, "second");
  const panel = h(
    "div",
    { class: "panel" },
    h("h1", {}, title),
    h("p", {}, text("done.reference")),
    h("p", {}, spelled(receipt.reference)),
    h("p", {}, text("done.time", { time })),
  );
  return {
    page: {
      name: "done",
      title,
      state: "received",
      content: [
        panel,
        h("p", {}, text("done.keep")),
        buttons(
          button(text("done.save"), () => save({ is: "done", receipt }, view)),
          button(text("done.print"), () => window.print(), "second"),
        ),
        otherCode(view, "done.other"),
        h("h2", {}, text("done.proves_heading")),
        h("p", {}, text("done.proves")),
        h("p", {}, text("done.proves_not")),
        h("p", {}, text("done.check"), " ", link(view, "check", text("check.nav"))),
        h("p", {}, text("done.leave")),
        h(
          "details",
          {},
          h("summary", {}, text("done.digest_heading")),
          h("div", {}, h("p", {}, text("done.digest")), h("p", { class: "digits" }, digest)),
        ),
      ],
    },
  };
}

/** What is saved: the same as on the screen, and the receipt itself for whoever wants to verify it. */
export function fileOf({ receipt }: Done, { ballot }: View): string {
  const lines = [
    own(ballot.title),
    `${text("done.reference")} ${receipt.reference}`,
    text("done.time", { time: inLondon(receipt.accepted_at, "second") }),
    "",
    text("done.proves"),
    text("done.proves_not"),
    `${text("contact.ask")}: ${own(ballot.scrutineer)}, ${own(ballot.contact)}`,
    "",
    text("done.file_receipt"),
    JSON.stringify(receipt),
  ];
  return `${lines.join("\r\n")}\r\n`;
}

function save(done: Done, view: View): void {
  const file = new Blob([fileOf(done, view)], { type: "text/plain;charset=utf-8" });
  const address = URL.createObjectURL(file);
  const way = h("a", { href: address, download: `${view.ballot.id}-${done.receipt.reference}.txt` });
  way.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
