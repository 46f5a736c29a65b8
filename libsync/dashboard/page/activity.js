// Throughput and lag over the last hour or day, as plots and as a table.
import { byId, data, el, renew, svg, table } from "./dom.js";
import { makePlot } from "./plot.js";
import { duration, moment, number, say, t } from "./texts.js";

const minute = 60000;
const ranges = { 60: { name: "hour", plotted: 1, listed: 5 }, 1440: { name: "day", plotted: 5, listed: 60 } };

/** Of samples a minute, one a `size` minutes; rows are means a minute, lag the worst. Null where there was none. */
export function slots(samples, range, size, now) {
  const count = range / size;
  const end = Math.floor(now / (size * minute)) * size * minute;
  const all = Array.from({ length: count }, (_, index) => ({
    at: new Date(end - (count - 1 - index) * size * minute),
    minutes: 0,
    in: null,
    out: null,
    lag: null,
  }));
  for (const sample of samples) {
    const place = Math.floor((new Date(sample.minute) - all[0].at) / (size * minute));
    const slot = all[place];
    if (slot !== undefined) {
      slot.minutes += 1;
      slot.in = (slot.in ?? 0) + sample.rows_in;
      slot.out = (slot.out ?? 0) + sample.rows_out;
      slot.lag = Math.max(slot.lag ?? 0, sample.lag_seconds);
    }
  }
  for (const slot of all.filter((one) => one.minutes > 1)) {
    slot.in /= slot.minutes;
    slot.out /= slot.minutes;
  }
  return all;
}

let shownSlots = [];
let width = 0;

const sentence = (key) => (index) => {
  const slot = shownSlots[index];
  const time = moment(slot.at);
  return slot.in === null
    ? ["activity.gapAt", { time }]
    : [key, { time, in: slot.in, out: slot.out, duration: duration(slot.lag) }];
};

const plots = {
  rows: makePlot(t("activity.rows"), sentence("activity.rowsAt")),
  lag: makePlot(t("activity.lag"), sentence("activity.lagAt")),
};

const legend = (entries) =>
  el(
    "p",
    { class: "legend" },
    entries.map(([name, text]) =>
      el("span", {}, svg("svg", { viewBox: "0 0 28 8", width: 28, height: 8, "aria-hidden": "true" }, svg("path", { class: `curve ${name}`, d: "M2 4 h24" })), " ", text)),
  );

const figure = (name, entries) =>
  el(
    "div",
    { class: "figure" },
    el("h3", {}, t(`activity.${name}`)),
    el("p", { class: "quiet" }, t(`activity.${name}What`)),
    legend(entries),
    plots[name].board,
    plots[name].value,
  );

function asTable(samples, range) {
  const heads = ["time", "inHead", "outHead", "lagHead"].map((key) => t(`activity.${key}`));
  const rows = slots(samples, range, ranges[range].listed, Date.now())
    .filter((slot) => slot.in !== null)
    .reverse()
    .map((slot) => [data(moment(slot.at)), data(number(slot.in)), data(number(slot.out)), data(number(slot.lag))]);
  return rows.length === 0 ? el("p", {}, t("activity.none")) : table(t("activity.tableCaption"), heads, rows, { class: "figures" });
}

function draw(state) {
  if (state.stats === null || width === 0) {
    return;
  }
  const { samples } = state.stats;
  shownSlots = slots(samples, state.range, ranges[state.range].plotted, Date.now());
  const times = shownSlots.map((slot) => slot.at);
  const values = (name) => shownSlots.map((slot) => slot[name]);
  plots.rows.show(times, [{ name: "in", values: values("in") }, { name: "out", values: values("out") }], width);
  plots.lag.show(times, [{ name: "lag", values: values("lag") }], width);
}

let drawn = null;

export function showActivity(state) {
  if (drawn !== state.stats) {
    drawn = state.stats;
    draw(state);
    renew(byId("activity-table"), [state.stats, state.range], () => asTable(state.stats.samples, state.range));
  }
  for (const button of byId("activity-range").children) {
    button.setAttribute("aria-pressed", String(Number(button.value) === state.range));
  }
}

/** `choose(minutes)`: another range is wanted. */
export function startActivity(state, choose) {
  byId("activity-range").setAttribute("aria-label", t("activity.range"));
  byId("activity-range").append(
    ...Object.entries(ranges).map(([minutes, { name }]) =>
      el("button", { type: "button", value: minutes, onclick: () => choose(Number(minutes)) }, t(`activity.${name}`))),
  );
  byId("activity-plots").append(
    figure("rows", [["in", say("activity.in")], ["out", say("activity.out")]]),
    figure("lag", [["lag", say("activity.lagLine")]]),
    el("details", { class: "wide" }, el("summary", {}, t("activity.table")), el("div", { id: "activity-table" })),
  );
  new ResizeObserver((entries) => {
    width = Math.round(entries[0].contentRect.width);
    draw(state);
  }).observe(plots.rows.board);
}
