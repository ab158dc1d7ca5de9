// Every word the page's scripts show comes from here, in the language the server chose for <html lang>.
//
// Both catalogues travel with the page, so that no text is ever missing on a bad network. A placeholder `{name}` that
// nobody filled stays visible: an odd sentence is better than no page.

import cy from "../text/cy.json" with { type: "json" };
import en from "../text/en.json" with { type: "json" };

export type Language = "en" | "cy";
export type TextKey = keyof typeof en;

const CATALOGUES: Record<Language, Record<TextKey, string>> = { en, cy };
const PLACEHOLDER = /\{([a-z_]+)\}/g;

let chosen: Language = "en";
if (typeof document !== "undefined" && document.documentElement.lang === "cy") {
  chosen = "cy";
}

/** The language of the page. */
export const language = (): Language => chosen;

/** Changes the language of what is said from now on (for the tests: on a page, a reload does that). */
export function speak(wanted: Language): void {
  chosen = wanted;
}

/** The text of `key` in the page's language, its placeholders filled from `params`. */
export function text(key: TextKey, params: Readonly<Record<string, string | number>> = {}): string {
  return CATALOGUES[chosen][key].replace(PLACEHOLDER, (placeholder: string, name: string) => {
    const value = params[name];
    return value === undefined ? placeholder : String(value);
  });
}

/** A link of this site that keeps the language: `here("/b/x/about")` is `/b/x/about?lang=cy` on a Welsh page. */
export const here = (path: string): string => `${path}?lang=${chosen}`;
