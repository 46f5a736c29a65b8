// What must hold for the page whatever it shows.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The rules of accessibility that a program can look after, contrast (AA) and names of controls among them. */
export async function checkAccessible(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations, passes } = await window.axe.run(document, { resultTypes: ["violations", "passes"] });
    return {
      violations: violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`),
      passed: passes.map((one) => one.id),
    };
  });
  assert.deepEqual(found.violations, [], where);
  assert.ok(found.passed.includes("color-contrast"), `${where}: contrast was not computed`);
  assert.ok(found.passed.includes("button-name"), `${where}: names were not looked at`);
}

export async function checkFits(page, where) {
  const wide = await page.evaluate(() => ({
    page: document.documentElement.scrollWidth,
    window: window.innerWidth,
    beyond: [...document.querySelectorAll("main *:not(.scrolls *):not(.visually-hidden)")]
      .filter((one) => one.getBoundingClientRect().right > window.innerWidth + 1 && getComputedStyle(one).position !== "absolute")
      .map((one) => one.outerHTML.slice(0, 120))
      .slice(0, 3),
  }));
  assert.ok(wide.page <= wide.window, `${where}: ${wide.page} wide in ${wide.window}`);
  assert.deepEqual(wide.beyond, [], where);
}

/** Texts with letters that are neither a sentence of the (changed) language file nor marked as somebody else's. */
export const strayTexts = (page) =>
  page.evaluate(() => {
    const stray = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const of = node.parentElement;
      if (/[A-Za-z]/.test(node.data) && !of.closest("[translate=no], [lang=en]:not(html), time, noscript, script, style")) {
        stray.push(node.data);
      }
    }
    for (const one of document.querySelectorAll("[aria-label]")) {
      if (!/[\uff21-\uff5a]/.test(one.ariaLabel)) {
        stray.push(one.ariaLabel);
      }
    }
    return stray;
  });

/** The language file with each letter of its sentences made another one, wide: what is left in plain ones is not of it. */
export function widened(source) {
  return source.replace(/(:\s+)"((?:[^"\\]|\\.)*)"/g, (_, colon, text) => {
    const wide = text.replace(/\{\w+\}|[A-Za-z]/g, (part) =>
      part.length > 1 ? part : String.fromCharCode(part.charCodeAt(0) + 0xfee0));
    return `${colon}"${wide}"`;
  });
}
