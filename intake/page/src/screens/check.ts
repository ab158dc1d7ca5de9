// Every answer once more, each with a way to change it, before the one press that cannot be taken back.

import type { Question } from "../ballot.ts";
import { type Child, h } from "../dom.ts";
import { answerOf, chosenFor } from "../fields.ts";
import { text } from "../language.ts";
import type { Check } from "../screen.ts";
import { back, button, buttons, form, said, type Shown, type View } from "./view.ts";

/** The check screen. */
export function checkScreen(screen: Check, view: View): Shown<Check> {
  const { ballot, flow } = view;
  const rows = ballot.questions.map((question, index) => {
    const change = h(
      "button",
      { type: "button", class: "back", onclick: () => flow.change(index) },
      text("check.change"),
      h("span", { class: "unseen" }, " ", said(question.text)),
    );
    return h(
      "div",
      {},
      h("dt", {}, said(question.text)),
      h("dd", {}, answer(question, answerOf(question, chosenFor(screen.fields, question)))),
      h("dd", { class: "change" }, change),
    );
  });
  const title = text("check.heading");
  return {
    page: {
      name: "check",
      title,
      state: "not-sent",
      content: [
        back(() => flow.back()),
        h("h1", {}, title),
        h("dl", { class: "summary" }, ...rows),
        form(
          () => void flow.submit(),
          h("p", {}, text("check.final")),
          buttons(button(text("check.submit"))),
        ),
      ],
    },
  };
}

function answer(question: Question, options: readonly string[]): Child {
  if (options.length === 0) return text("check.blank");
  const words = options.map((id) => {
    const option = question.options.find((one) => one.id === id);
    return option === undefined ? id : said(option.text);
  });
  if (question.form === "single") return words[0];
  return h(question.form === "ranked" ? "ol" : "ul", {}, ...words.map((one) => h("li", {}, one)));
}
