import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import cy from "../text/cy.json" with { type: "json" };
import en from "../text/en.json" with { type: "json" };
import { here, language, speak, text } from "../src/language.ts";

afterEach(() => speak("en"));

test("English is spoken where nothing else is said", () => {
  assert.equal(language(), "en");
  assert.equal(text("check.title"), en["check.title"]);
});

test("Welsh is spoken once it is asked for, and links keep it", () => {
  speak("cy");
  assert.equal(text("check.title"), cy["check.title"]);
  assert.equal(here("/b/x/about"), "/b/x/about?lang=cy");
});

test("placeholders are filled, with whatever a name contains, and an unfilled one stays visible", () => {
  assert.equal(text("check.slip_length", { count: 15 }), en["check.slip_length"].replace("{count}", "15"));
  assert.equal(
    text("check.slip_length", { count: "$& {count}" }),
    en["check.slip_length"].replace("{count}", () => "$& {count}"),
  );
  assert.equal(text("check.slip_length"), en["check.slip_length"]);
});
