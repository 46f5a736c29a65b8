// The page's language: which one, its sentences, and numbers and times as it writes them. Another language is a file
// like en.js and a line in `languages`.
import en from "./en.js";
import { data, el } from "./dom.js";

const languages = { en };

const wanted = navigator.languages.find((tag) => tag.split("-")[0] in languages);
export const locale = wanted ?? "en";
export const language = locale.split("-")[0];
const sentences = languages[language];

const plural = new Intl.PluralRules(locale);
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const broken = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
const list = new Intl.ListFormat(locale, { type: "conjunction" });

/** The sentence, of those for one and for many the one for `values.count`; undefined if there is none. */
function sentence(key, values) {
  const found = sentences[key] ?? en[key];
  return typeof found === "object" ? found[plural.select(values.count ?? 0)] ?? found.other : found;
}

export const has = (key) => (sentences[key] ?? en[key]) !== undefined;

/** As a text, for names of controls and the like. */
export function t(key, values = {}) {
  const text = sentence(key, values);
  if (text === undefined) {
    throw new Error(`no text '${key}'`);
  }
  return text.replace(/\{(\w+)\}/g, (_, name) => plain(values[name]));
}

/** The same as nodes: values are marked as what is not to be translated, and may be nodes themselves. */
export function say(key, values = {}) {
  const parts = (sentence(key, values) ?? t(key)).split(/(\{\w+\})/);
  return parts
    .filter((part) => part !== "")
    .map((part) => {
      const name = /^\{(\w+)\}$/.exec(part)?.[1];
      const value = values[name];
      return name === undefined ? part : value instanceof Node ? value : data(plain(value));
    });
}

const plain = (value) => (typeof value === "number" ? number(value) : String(value ?? ""));

/** Figures above ten without a fraction. */
export const number = (value) => (Math.abs(value) < 10 ? broken : whole).format(value);

/** "3 minutes", of seconds. */
export function duration(seconds) {
  const [amount, unit] =
    seconds < 60 ? [seconds, "second"]
    : seconds < 5400 ? [seconds / 60, "minute"]
    : seconds < 129600 ? [seconds / 3600, "hour"]
    : [seconds / 86400, "day"];
  const rounded = amount < 10 && unit === "second" ? Math.round(amount * 10) / 10 : Math.round(amount);
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(rounded);
}

export const listed = (texts) => list.format(texts);
export const clockTime = (date) => clock.format(date);
export const exactTime = (date) => exact.format(date);

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  const far = Math.abs(seconds);
  return far < 50 ? relative.format(Math.round(seconds / 10) * 10 || 0, "second")
    : far < 3000 ? relative.format(Math.round(seconds / 60), "minute")
    : far < 79200 ? relative.format(Math.round(seconds / 3600), "hour")
    : relative.format(Math.round(seconds / 86400), "day");
}

/** "10:42" of today, otherwise with the day. */
export function moment(date) {
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

/** `<time>` that goes on being right: refreshTimes() is called now and then. `how`: "ago" or "at". */
export function time(iso, how = "ago") {
  const date = new Date(iso);
  return el("time", { datetime: iso, "data-how": how, title: exact.format(date) }, how === "ago" ? ago(date) : moment(date));
}

export function refreshTimes() {
  for (const place of document.querySelectorAll("time[data-how]")) {
    const date = new Date(place.dateTime);
    const text = place.dataset.how === "ago" ? ago(date) : moment(date);
    if (place.textContent !== text) {
      place.textContent = text;
    }
  }
}

/** Fills what index.html leaves to be said. */
export function fillPage() {
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-text]")) {
    place.textContent = t(place.dataset.text);
  }
}
