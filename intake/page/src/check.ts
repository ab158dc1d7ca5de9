// Entry of the page that tells whether a vote with a given reference number is stored: never whose, never which choice.

import { deviceClock } from "./clock.ts";
import { h, mended, type Problem, show, spelled } from "./dom.ts";
import { button, field } from "./form.ts";
import { given } from "./given.ts";
import { here, text, type TextKey } from "./language.ts";
import { footerContact } from "./footer.ts";
import { referenceIn, type ReferenceSlip, type Standing, standing } from "./reference.ts";

const INPUT = "reference";

const SLIPS: Record<ReferenceSlip, TextKey> = {
  empty: "check.slip_empty",
  code: "check.slip_code",
  complaint: "check.slip_complaint",
  symbols: "check.slip_symbols",
  length: "check.slip_length",
};

const TOLD: Record<Standing, { title: TextKey; paragraphs: readonly TextKey[]; contact: boolean }> = {
  accepted: { title: "check.accepted_title", paragraphs: ["check.accepted"], contact: false },
  stored: { title: "check.stored_title", paragraphs: ["check.stored"], contact: false },
  held: { title: "check.held_title", paragraphs: ["check.held", "check.held_do"], contact: true },
  unknown: { title: "check.unknown_title", paragraphs: ["check.unknown", "check.unknown_do"], contact: true },
  unreachable: { title: "check.unreachable_title", paragraphs: ["check.unreachable"], contact: true },
};

const line = { fetch: (url: string, request: RequestInit) => fetch(url, request), clock: deviceClock };

function start(main: HTMLElement, ballot: string): void {
  const ask = (typed: string, problem: string | undefined): void => {
    const problems: Problem[] = problem === undefined ? [] : [{ field: INPUT, message: problem }];
    show(main, {
      name: "form",
      title: text("check.title"),
      problems,
      content: [
        h("h1", {}, text("check.title")),
        h("p", {}, text("check.what")),
        form(typed, problem),
        h("p", {}, text("check.never")),
      ],
    });
  };

  const form = (typed: string, problem: string | undefined): HTMLElement => {
    const input = h("input", {
      id: INPUT,
      class: "code",
      type: "text",
      value: typed,
      autocomplete: "off",
      autocapitalize: "characters",
      spellcheck: "false",
    });
    const status = h("p", { role: "status" });
    let asking = false;
    const submit = (event: Event): void => {
      event.preventDefault();
      const found = referenceIn(input.value);
      if (found.is === "slip") {
        ask(found.slip === "code" ? "" : input.value, text(SLIPS[found.slip], { count: found.count }));
      } else if (!asking) {
        asking = true;
        mended(main);
        status.replaceChildren(text("check.asking"));
        void standing(ballot, found.reference, line).then((known) => tell(found.reference, known));
      }
    };
    return h(
      "form",
      { novalidate: true, onsubmit: submit },
      field(input, { label: text("check.label"), hint: text("check.hint"), error: problem }),
      button(text("check.ask")),
      status,
    );
  };

  const tell = (reference: string, known: Standing): void => {
    const { title, paragraphs, contact } = TOLD[known];
    const again = known === "unreachable" || known === "unknown";
    show(main, {
      name: known,
      title: text(title),
      content: [
        h("h1", {}, text(title)),
        h("p", {}, `${text("check.label")}: `, spelled(reference)),
        ...paragraphs.map((key) => h("p", {}, text(key))),
        contact && h("p", {}, `${text("contact.ask")}: `, footerContact()),
        contact && h("p", {}, h("a", { href: here(`/b/${ballot}/complaint`) }, text("complaint.nav"))),
        h("p", {}, text("check.never")),
        h("h2", {}, text(again ? "check.again" : "check.another")),
        form(again ? reference : "", undefined),
      ],
    });
  };

  ask("", undefined);
}

const main = document.getElementById("main");
const { ballot } = given();
if (main !== null && typeof ballot === "string") {
  start(main, ballot);
}
