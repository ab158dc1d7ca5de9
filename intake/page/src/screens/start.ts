// The start: whose ballot this is, what is recorded, and the code, from the link or typed by hand.

import type { CodeMistyped } from "../code.ts";
import { type Child, h, mended } from "../dom.ts";
import { button, field } from "../form.ts";
import { text } from "../language.ts";
import type { Start } from "../screen.ts";
import { inLondon } from "../times.ts";
import { buttons, form, link, own, said, type Shown, type View } from "./view.ts";

const FIELD = "code";
const ANOTHER_HINT = "another-hint";

/** The start screen. */
export function startScreen(screen: Start, view: View): Shown<Start> {
  const { ballot, flow } = view;
  const error = screen.slip === null ? undefined : slipText(screen.slip);
  const status = h("p", { role: "status" }, screen.access === "asking" ? text("start.asking") : null);
  const input = codeInput(screen.typed);
  const unsure = screen.access === "unsure";
  const go = (): void => void flow.start(screen.held ? null : input.value);
  const another = button(text("start.another"), () => flow.useAnotherCode(), "second");
  another.setAttribute("aria-describedby", ANOTHER_HINT);
  const page = {
    name: "start",
    title: own(ballot.title),
    state: "not-sent" as const,
    problems: error === undefined ? [] : [{ field: screen.held ? "held" : FIELD, message: error }],
    content: [
      h("h1", {}, said(ballot.title)),
      outcome(screen, view),
      ...about(view),
      recorded(view),
      form(
        go,
        screen.held
          ? h("p", { class: "note", id: "held", tabindex: "-1" }, text("start.held"))
          : field(input, { label: text("start.code"), hint: text("start.code_hint"), error }),
        status,
        buttons(
          unsure ? button(text("start.go_on"), () => flow.goOn()) : null,
          unsure ? button(text("start.again"), go, "second") : button(text("start.continue")),
          screen.held ? another : null,
        ),
        screen.held ? h("p", { class: "hint", id: ANOTHER_HINT }, text("start.another_hint")) : null,
      ),
      genuine(view),
    ],
  };
  return {
    page,
    update(next) {
      if (next.access !== "asking") return false;
      const main = status.closest("main");
      if (main !== null) mended(main);
      status.textContent = text("start.asking");
      return true;
    },
  };
}

/** One field for the whole code; after a slip it holds what was typed, to be put right. */
function codeInput(typed: string): HTMLInputElement {
  return h("input", {
    value: typed,
    id: FIELD,
    class: "code",
    type: "text",
    autocomplete: "off",
    autocapitalize: "off",
    autocorrect: "off",
    spellcheck: "false",
    enterkeyhint: "go",
  });
}

/** What came of the last Continue, announced where the screen is replaced by itself. */
function outcome({ access, opens }: Start, view: View): Child {
  if (access === "early") {
    const when = text("start.early_when", { opens: inLondon(opens ?? view.window.opens) });
    return h("div", { class: "warning", role: "alert" }, h("p", {}, text("start.early")), h("p", {}, when));
  }
  if (access !== "unsure") return null;
  return h("div", { class: "warning", role: "alert" }, h("p", {}, text("start.unsure")));
}

function about(view: View): Child[] {
  const { ballot, window } = view;
  const { union, employer } = ballot;
  const who = [union, employer]
    .flatMap((words) => (words === undefined ? [] : [" · ", said(words)]))
    .slice(1);
  const closes = text("start.closes", { closes: inLondon(window.closes) });
  const moved = text("start.moved_from", { signed: inLondon(ballot.closes), now: inLondon(window.closes) });
  return [
    who.length > 0 && h("p", { class: "quiet" }, ...who),
    window.state === "scheduled" && h("p", {}, text("start.early_when", { opens: inLondon(window.opens) })),
    h("p", {}, closes),
    Date.parse(ballot.closes) === Date.parse(window.closes)
      ? null
      : h("div", { class: "note" }, h("p", {}, text("start.moved")), h("p", {}, moved)),
    h("p", {}, text("notice.short")),
    h("p", { class: "note" }, text("notice.device")),
  ];
}

function recorded(view: View): HTMLElement {
  return h(
    "details",
    {},
    h("summary", {}, text("notice.detail_heading")),
    h(
      "div",
      {},
      h("p", {}, text("notice.detail_ip")),
      h("p", {}, text("notice.detail_kept")),
      h("p", {}, text("notice.detail_device")),
      h("p", {}, link(view, "about", text("notice.more"))),
    ),
  );
}

/** What a voter can compare with the letter. */
function genuine({ fingerprint, pageVersion }: View): HTMLElement {
  const groups = fingerprint.match(/.{1,4}/g)?.join(" ") ?? "";
  return h(
    "details",
    { id: "genuine" },
    h("summary", {}, text("genuine.heading")),
    h(
      "div",
      {},
      h("p", {}, text("genuine.how")),
      h("p", {}, `${text("genuine.fingerprint")}: `, h("span", { class: "digits fingerprint" }, groups)),
      h("p", {}, text("genuine.version")),
      h("p", {}, `${text("frame.page_version")}: `, h("span", { class: "digits" }, pageVersion)),
      h("p", {}, text("genuine.limit")),
      h("p", {}, h("a", { href: "/assets/hashes.json" }, text("genuine.hashes"))),
    ),
  );
}

function slipText({ slip, count }: CodeMistyped): string {
  if (slip === "symbols") return text("start.slip_symbols");
  if (slip === "check") return text("start.slip_check");
  if (count === 0) return text("start.slip_none");
  return text(count < 20 ? "start.slip_short" : "start.slip_long", { count });
}
