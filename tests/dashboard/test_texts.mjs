// The page's files by themselves: what it says stands in the language file alone, and all of that is used.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

const folder = process.env.MBSYNC_PAGE;
const files = readdirSync(folder);
const read = (name) => readFileSync(join(folder, name), "utf8");
const scripts = files.filter((name) => name.endsWith(".js") && name !== "en.js");
const withoutComments = (code) => code.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/[^\n]*/g, "$1");
const { default: en } = await import(pathToFileURL(join(folder, "en.js")));

test("no sentence stands outside the language file", () => {
  for (const name of scripts) {
    for (const [, text] of withoutComments(read(name)).matchAll(/"((?:[^"\\\n]|\\.)*)"/g)) {
      // Two words, the first with a capital letter, or three: but for paths of pictures and lists of selectors.
      const sentence = /^[A-Z][a-z]+ [a-z]+/.test(text) || /[a-z]{2,} [a-z]{2,} [a-z]{2,}/.test(text);
      assert.ok(!sentence, `${name}: "${text}"`);
    }
  }
  const html = read("index.html").replace(/<noscript>[\s\S]*?<\/noscript>/, "").replace(/<[^>]*>/g, "");
  assert.deepEqual(html.match(/[A-Za-z]+/g), ["mbsync", "mbsync"], "index.html: the title and the name alone");
});

test("each text is used, and each that is asked for is there", () => {
  const code = scripts.map((name) => withoutComments(read(name))).join("\n") + read("index.html");
  const keys = Object.keys(en);
  for (const [, key] of code.matchAll(/\b(?:t|say|has)\(\s*"([^"]+)"/g)) {
    assert.ok(keys.includes(key), key);
  }
  for (const [, key] of code.matchAll(/data-text="([^"]+)"/g)) {
    assert.ok(keys.includes(key), key);
  }
  for (const key of keys) {
    // Where a part of the key is computed, its beginning or its end stands in the code.
    const parts = key.split(".");
    const used = code.includes(`"${key}"`) || code.includes(`\`${parts[0]}.$`) || code.includes(`"${parts.at(-1)}"`);
    assert.ok(used, `nobody says '${key}'`);
  }
});

test("where a number decides on the form, there is one for each", () => {
  for (const [key, text] of Object.entries(en)) {
    if (typeof text === "object") {
      for (const category of new Intl.PluralRules("en").resolvedOptions().pluralCategories) {
        assert.ok(category in text, `${key} has no form for '${category}'`);
      }
    }
  }
});

test("no markup is made of text, and nothing comes from elsewhere", () => {
  for (const name of files) {
    const code = read(name).replaceAll("http://www.w3.org/2000/svg", "");
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name);
    assert.doesNotMatch(code, /https?:\/\//, name);
    assert.doesNotMatch(code, /tabindex="?[1-9]|style="/, name);
  }
});

test("the page stays small", () => {
  const bytes = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  assert.ok(bytes < 96 * 1024, `${bytes} bytes`);
});
