// One question: native radio buttons, checkboxes or lists of places. What is chosen is remembered at once; nothing
// chosen is a legal answer, and the screen says so.

import type { Option, Question } from "../ballot.ts";
import { choicesMax } from "../answers.ts";
import { type Child, h, type Problem } from "../dom.ts";
import { type Chosen, CHOSEN, entryOf, type Slip } from "../fields.ts";
import { button, choice, group } from "../form.ts";
import { text } from "../language.ts";
import type { Asked } from "../screen.ts";
import { back, buttons, form, own, said, type Shown, type View } from "./view.ts";

const GROUP = "question";

/** The screen of one question. */
export function questionScreen(screen: Asked, view: View): Shown<Asked> {
  const { ballot, flow } = view;
  const { index, slips } = screen;
  const question = ballot.questions[index] as Question; // the flow shows no other
  const controls = question.options.map((option) =>
    question.form === "ranked"
      ? rank(question, option, screen)
      : choice(question.form === "single" ? "radio" : "checkbox", {
          id: idOf(option.id),
          name: question.id,
          value: option.id,
          label: said(option.text),
          checked: entryOf(screen.chosen, option.id) !== "",
        }),
  );
  const fields = group(
    {
      id: GROUP,
      legend: said(question.text),
      heading: true,
      hint: howTo(question),
      error: question.form === "ranked" ? undefined : slips.map(slipText)[0],
    },
    ...controls,
  );
  const fill = (): void => flow.fill(index, read(question, fields));
  fields.addEventListener("change", fill);
  const clear = (): void => {
    empty(fields);
    fill();
    cleared.textContent = text("question.cleared");
  };
  const cleared = h("p", { role: "status" });
  fields.addEventListener("change", () => cleared.replaceChildren());
  const place = { number: index + 1, count: ballot.questions.length };
  const content: Child[] = [
    back(() => flow.back()),
    ballot.questions.length > 1 ? h("p", { class: "quiet" }, text("question.number", place)) : null,
    form(
      () => flow.answer(index, read(question, fields)),
      fields,
      h("p", {}, text("question.blank")),
      cleared,
      buttons(
        button(text("question.continue")),
        button(text(question.form === "single" ? "question.clear" : "question.clear_all"), clear, "second"),
      ),
    ),
  ];
  const problems = slips.map((slip): Problem => ({
    field: idOf(slip.option),
    message: named(question, slip) + slipText(slip),
  }));
  const title = text("question.number", place);
  return {
    page: { name: "question", question: question.id, title, state: "not-sent", problems, content },
  };
}

const idOf = (option: string): string => `option-${option}`;

/** An option and the list of places it may be given. */
function rank(question: Question, option: Option, { chosen, slips }: Asked): HTMLElement {
  const id = idOf(option.id);
  const slip = slips.find((one) => one.option === option.id);
  const places = question.options.map((_, place) => String(place + 1));
  const given = entryOf(chosen, option.id);
  const entries = ["", ...places].map((value) =>
    h("option", { value, selected: value === given }, value === "" ? text("question.no_place") : value),
  );
  const attributes = slip === undefined ? {} : { "aria-invalid": "true", "aria-describedby": `${id}-error` };
  return h(
    "div",
    { class: slip === undefined ? "rank" : "rank faulty" },
    h("label", { for: id }, said(option.text)),
    h("select", { id, name: `${question.id}/${option.id}`, autocomplete: "off", ...attributes }, ...entries),
    slip === undefined ? null : errorLine(`${id}-error`, slipText(slip)),
  );
}

function errorLine(id: string, words: string): HTMLElement {
  return h("p", { class: "error", id }, h("span", { class: "unseen" }, `${text("errors.prefix")} `), words);
}

function howTo(question: Question): string {
  if (question.form === "single") return text("question.single");
  if (question.form === "ranked") return text("question.ranked");
  return text("question.multiple", { max: choicesMax(question) });
}

function slipText(slip: Slip): string {
  switch (slip.is) {
    case "too many":
      return text("question.too_many", { max: slip.max, chosen: slip.chosen });
    case "same place":
      return text("question.same_place", { place: slip.place });
    case "gap":
      return text("question.gap", { place: slip.place });
  }
}

/** In a ranking, which option a slip is at: the links of the summary are told apart by it. */
function named(question: Question, slip: Slip): string {
  const option = question.options.find(({ id }) => id === slip.option);
  return question.form === "ranked" && option !== undefined ? `${own(option.text)}: ` : "";
}

/** What stands in the form. */
function read(question: Question, fields: HTMLElement): Chosen {
  const chosen: Record<string, string> = {};
  for (const { id } of question.options) {
    const control = fields.querySelector(`#${CSS.escape(idOf(id))}`);
    if (control instanceof HTMLSelectElement && control.value !== "") chosen[id] = control.value;
    if (control instanceof HTMLInputElement && control.checked) chosen[id] = CHOSEN;
  }
  return chosen;
}

function empty(fields: HTMLElement): void {
  for (const control of fields.querySelectorAll<HTMLInputElement | HTMLSelectElement>("input, select")) {
    if (control instanceof HTMLSelectElement) control.value = "";
    else control.checked = false;
  }
}
