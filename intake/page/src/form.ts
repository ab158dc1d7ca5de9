// Form parts: native controls, each with its label, hint and error tied to it for screen readers.

import { type Child, h } from "./dom.ts";
import { text } from "./language.ts";

/** A labelled control with its hint and, where there is one, its error, tied to it for screen readers. */
export interface Field {
  label: string;
  hint?: string;
  error?: string | undefined;
  /** Ids of other texts that describe the control, such as the count of characters left. */
  describedBy?: readonly string[];
}

/** Ties `control` (which has an id) to its label, hint and error, and returns them all. */
export function field(control: HTMLElement, { label, hint, error, describedBy = [] }: Field): HTMLElement {
  const told = describe(control.id, hint, error);
  const ids = [...told.map((node) => node.id), ...describedBy];
  if (ids.length > 0) {
    control.setAttribute("aria-describedby", ids.join(" "));
  }
  if (error !== undefined) {
    control.setAttribute("aria-invalid", "true");
  }
  return h(
    "div",
    { class: error === undefined ? "field" : "field faulty" },
    h("label", { for: control.id }, label),
    ...told,
    control,
  );
}

/** A group of controls under a legend, which is the screen's h1 (`heading`) or plain. `id` is the group's. */
export interface Group {
  id: string;
  legend: Child;
  heading?: boolean;
  hint?: string;
  error?: string | undefined;
}

/** A fieldset whose hint and error are announced with its legend. */
export function group(
  { id, legend, heading, hint, error }: Group,
  ...controls: readonly Child[]
): HTMLElement {
  const told = describe(id, hint, error);
  const describedBy = told.map((node) => node.id).join(" ");
  return h(
    "div",
    { class: error === undefined ? "field" : "field faulty" },
    h(
      "fieldset",
      { id, "aria-describedby": describedBy === "" ? null : describedBy },
      h("legend", {}, heading === true ? h("h1", {}, legend) : legend),
      ...told,
      ...controls,
    ),
  );
}

function describe(id: string, hint: string | undefined, error: string | undefined): HTMLElement[] {
  const told: HTMLElement[] = [];
  if (hint !== undefined) {
    told.push(h("p", { class: "hint", id: `${id}-hint` }, hint));
  }
  if (error !== undefined) {
    const prefix = h("span", { class: "unseen" }, `${text("errors.prefix")} `);
    told.push(h("p", { class: "error", id: `${id}-error` }, prefix, error));
  }
  return told;
}

/** One native radio button or checkbox with its label, on one large target. */
export function choice(
  type: "radio" | "checkbox",
  {
    id,
    name,
    value,
    label,
    checked,
  }: { id: string; name: string; value: string; label: Child; checked: boolean },
): HTMLElement {
  return h(
    "div",
    { class: "choice" },
    h("input", { type, id, name, value, checked, autocomplete: "off" }),
    h("label", { for: id }, label),
  );
}

/** A button of the page: it submits its form when it has one and no `press`. */
export function button(
  label: string,
  press?: (event: Event) => void,
  kind: "first" | "second" = "first",
): HTMLElement {
  const attributes = { class: kind === "first" ? "button" : "button second", onclick: press };
  return h("button", { type: press === undefined ? "submit" : "button", ...attributes }, label);
}
