import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import aboutCy from "../text/about.cy.json" with { type: "json" };
import aboutEn from "../text/about.en.json" with { type: "json" };
import cy from "../text/cy.json" with { type: "json" };
import en from "../text/en.json" with { type: "json" };

const ROOT = join(import.meta.dirname, "..");
const CATALOGUES: Record<string, Record<string, string>> = { en, cy };
/** Only names may be the same in both languages. */
const SAME_IN_BOTH: readonly string[] = [];

interface Part {
  heading: string;
  paragraphs: string[];
  list?: string[];
}
const DESCRIPTIONS: Record<string, Part[]> = { en: aboutEn, cy: aboutCy };

const placeholders = (text: string): string[] => (text.match(/\{[^}]*\}/g) ?? []).sort();

function sources(folder: string, ending: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(ROOT, folder, name), "utf8"));
}

const SCRIPTS = sources("src", ".ts").join("\n");
const TEMPLATES = sources("templates", ".html").join("\n");

/** Whether a source names `key`, whole or by a pattern such as `refused.${name}_next`. */
function isUsed(key: string): boolean {
  if (SCRIPTS.includes(`"${key}"`) || TEMPLATES.includes(`"${key}"`)) return true;
  return PATTERNS.some((pattern) => pattern.test(key));
}

const PATTERNS = [...SCRIPTS.matchAll(/`([a-z_]+\.[^`\s]*\$\{[^`\s]*)`/g)].map(([, inside = ""]) => {
  const parts = inside.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(".", "\\."));
  return new RegExp(`^${parts.join("[a-z_]+")}$`);
});

test("both languages have the same keys, in one order", () => {
  assert.deepEqual(Object.keys(cy), Object.keys(en));
  assert.deepEqual(Object.keys(en), Object.keys(en).sort());
});

test("a text and its translation have the same placeholders", () => {
  for (const [key, text] of Object.entries(CATALOGUES["en"] ?? {})) {
    assert.deepEqual(placeholders(CATALOGUES["cy"]?.[key] ?? ""), placeholders(text), key);
    for (const each of placeholders(text)) assert.match(each, /^\{[a-z_]+\}$/, key);
  }
});

test("every text is there, is translated, and is text: no markup, no typewriter quotes, no loose spaces", () => {
  for (const [language, catalogue] of Object.entries(CATALOGUES)) {
    for (const [key, text] of Object.entries(catalogue)) {
      assert.match(text, /\S/, `${language} ${key}`);
      assert.doesNotMatch(text, /[<>&"'`]|^\s|\s$| {2}/, `${language} ${key}`);
    }
  }
  for (const [key, text] of Object.entries(CATALOGUES["cy"] ?? {})) {
    assert.ok(SAME_IN_BOTH.includes(key) || text !== CATALOGUES["en"]?.[key], key);
  }
});

test("no key is unused", () => {
  assert.deepEqual(
    Object.keys(en).filter((key) => !isUsed(key)),
    [],
  );
});

test("no text that a template asks for is missing", () => {
  const asked = [...TEMPLATES.matchAll(/\bt(?:_other)?\("([^"]+)"/g)].map(([, key = ""]) => key);
  assert.ok(asked.length > 20);
  assert.deepEqual(
    asked.filter((key) => !(key in en)),
    [],
  );
});

test("the description has the same parts in both languages, with the same placeholders and lists", () => {
  const shape = (parts: Part[]): unknown =>
    parts.map(({ heading, paragraphs, list }) => ({
      heading: placeholders(heading),
      paragraphs: paragraphs.map(placeholders),
      list: list?.map(placeholders) ?? null,
    }));
  const { en: english = [], cy: welsh = [] } = DESCRIPTIONS;
  assert.deepEqual(shape(welsh), shape(english));
  for (const part of [...english, ...welsh]) {
    const told = [part.heading, ...part.paragraphs, ...(part.list ?? [])].join("\n");
    assert.deepEqual(
      placeholders(told).filter((each) => each !== "{scrutineer}" && each !== "{contact}"),
      [],
    );
    assert.doesNotMatch(told, /[<>&"'`]/, part.heading);
  }
});
