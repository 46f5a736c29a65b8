// A plot over time as SVG, with one line a series. The value at a time is told where the pointer is, or by the arrow
// keys: to a screen reader it is a slider whose value is a sentence.
import { el, svg } from "./dom.js";
import { clockTime, number, say, t } from "./texts.js";

const height = 190;
const space = { left: 46, right: 28, top: 10, bottom: 26 };
const tickRoom = 78;

/** The least of 1, 2, 5 and their tenfolds of which `parts` are enough. */
function step(most, parts) {
  const rough = most / parts;
  const tens = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((times) => times * tens).find((one) => one >= rough);
}

/** Times at which a tick stands: round ones. */
function timeTicks(times, width) {
  const first = times[0].getTime();
  const last = times.at(-1).getTime();
  const minutes = [5, 10, 15, 30, 60, 180, 360, 720];
  const each = minutes.find((one) => ((last - first) / 60000 / one) * tickRoom <= width) ?? minutes.at(-1);
  const zone = times[0].getTimezoneOffset() * 60000;
  const size = each * 60000;
  const ticks = [];
  for (let at = Math.ceil((first - zone) / size) * size + zone; at <= last; at += size) {
    ticks.push(at);
  }
  return ticks;
}

/** A line that is interrupted where nothing was measured. */
function linePath(values, x, y) {
  return values
    .map((value, index) => {
      if (value === null) {
        return "";
      }
      const alone = (values[index - 1] ?? null) === null;
      return `${alone ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h0.1" : ""}`;
    })
    .join("");
}

function areaPath(values, x, y) {
  const parts = [];
  for (let begin = 0; begin < values.length; begin += 1) {
    if (values[begin] === null) {
      continue;
    }
    let end = begin;
    while (end + 1 < values.length && values[end + 1] !== null) {
      end += 1;
    }
    const top = values.slice(begin, end + 1).map((value, index) => `L${x(begin + index).toFixed(1)} ${y(value).toFixed(1)}`);
    parts.push(`M${x(begin).toFixed(1)} ${y(0)}${top.join("")}L${x(end).toFixed(1)} ${y(0)}Z`);
    begin = end;
  }
  return parts.join("");
}

/** `describe(index)`: the sentence of one time, as key and values. */
export function makePlot(title, describe) {
  const board = el("div", {
    class: "plot",
    role: "slider",
    tabindex: "0",
    "aria-label": t("activity.keys", { title }),
    "aria-valuemin": "0",
  });
  const value = el("p", { class: "plot-value", "aria-hidden": "true" });
  let shown = null; // { times, series, x, y, cursor }
  let at = -1; // the time that is pointed at; -1: the latest

  function point(index) {
    at = index;
    const { times, series, x, y, cursor } = shown;
    const place = index < 0 ? times.length - 1 : index;
    board.setAttribute("aria-valuenow", String(place));
    board.setAttribute("aria-valuetext", t(...describe(place)));
    value.replaceChildren(...say(...describe(place)));
    cursor.replaceChildren();
    if (index < 0) {
      return;
    }
    cursor.append(svg("line", { x1: x(place), x2: x(place), y1: space.top, y2: height - space.bottom }));
    for (const one of series) {
      if (one.values[place] !== null) {
        cursor.append(svg("circle", { class: one.name, cx: x(place), cy: y(one.values[place]), r: 4 }));
      }
    }
  }

  board.addEventListener("keydown", (event) => {
    const last = (shown?.times.length ?? 0) - 1;
    const now = at < 0 ? last : at;
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageUp: now + 10, PageDown: now - 10, Home: 0, End: last }[event.key];
    if (to !== undefined && shown) {
      event.preventDefault();
      point(Math.max(0, Math.min(last, to)));
    }
  });
  board.addEventListener("pointermove", (event) => {
    if (shown) {
      const left = event.clientX - board.getBoundingClientRect().left;
      const last = shown.times.length - 1;
      const share = (left - space.left) / (shown.x(last) - space.left);
      point(Math.max(0, Math.min(last, Math.round(share * last))));
    }
  });
  const rest = () => shown && point(-1);
  board.addEventListener("pointerleave", rest);
  board.addEventListener("blur", rest);

  function show(times, series, width) {
    const most = Math.max(4, ...series.flatMap((one) => one.values.filter((one) => one !== null)));
    const each = step(most, 4);
    const top = Math.ceil(most / each) * each;
    const x = (index) => space.left + (index / (times.length - 1)) * (width - space.left - space.right);
    const y = (amount) => height - space.bottom - (amount / top) * (height - space.top - space.bottom);
    const ticks = Array.from({ length: Math.round(top / each) + 1 }, (_, index) => index * each);
    const first = times[0].getTime();
    const length = times.at(-1).getTime() - first;
    const cursor = svg("g", { class: "cursor" });
    board.replaceChildren(
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
        ticks.map((amount) =>
          svg(
            "g",
            { class: "tick" },
            svg("line", { x1: space.left, x2: width - space.right, y1: y(amount), y2: y(amount) }),
            svg("text", { x: space.left - 8, y: y(amount) + 4, "text-anchor": "end", translate: "no" }, number(amount)),
          )),
        timeTicks(times, width - space.left - space.right).map((moment) => {
          const place = x(((moment - first) / length) * (times.length - 1));
          return svg("text", { x: place, y: height - 6, "text-anchor": "middle", translate: "no" }, clockTime(new Date(moment)));
        }),
        series.map((one) => svg("path", { class: `area ${one.name}`, d: areaPath(one.values, x, y) })),
        series.map((one) => svg("path", { class: `curve ${one.name}`, d: linePath(one.values, x, y) })),
        series.map((one) => {
          const last = one.values.findLastIndex((value) => value !== null);
          return last < 0 ? null : svg("circle", { class: `last ${one.name}`, cx: x(last), cy: y(one.values[last]), r: 3 });
        }),
        cursor,
      ),
    );
    board.setAttribute("aria-valuemax", String(times.length - 1));
    shown = { times, series, x, y, cursor };
    point(Math.min(at, times.length - 1));
  }

  return { board, value, show };
}
