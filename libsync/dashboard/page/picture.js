// The fleet as a picture: this machine in the middle, the others around it, a line to each that shows how it stands.
// What it shows stands in the table below it as well; where they are is worked out for the width that there is.
import { svg } from "./dom.js";
import { nameOf } from "./store.js";
import { t } from "./texts.js";

const selfRadius = 24;
const letterWidth = 7.2; // of a label's letter, about
const labelHeight = 20;
const oneRing = 9; // with more machines, every other one stands farther in
const radiusFor = (count) => (count > oneRing ? 14 : 17);

const glyphs = {
  connected: "M-6 0 l4 4 l8 -8",
  unreachable: "M-5 -5 l10 10 M5 -5 l-10 10",
  silent: "M-6 0 h0.1 M0 0 h0.1 M6 0 h0.1",
  "not met": "M0 -6 v6 M0 6 v0.1",
  away: "M-6 0 h12",
  banned: "M-5.5 5.5 l11 -11",
};

function shortened(name, width) {
  const letters = [...name];
  const room = Math.max(4, Math.floor(width / letterWidth));
  // The end stays as well: names often differ there.
  const end = Math.floor(room / 3);
  return letters.length > room ? `${letters.slice(0, room - 1 - end).join("")}…${letters.slice(-end).join("")}` : name;
}

/** On a narrow screen many stand in two columns, with this one between them. */
const inColumns = (count, width) => width < 500 && count > 6;
const columnStep = 56;
const columnMargin = 54;

/** Where the others stand: on an ellipse, beginning at the left, so that two machines stand side by side. */
function places(count, width, height) {
  if (inColumns(count, width)) {
    return Array.from({ length: count }, (_, index) => ({
      x: index % 2 === 0 ? columnMargin : width - columnMargin,
      y: (Math.floor(index / 2) + 0.4) * columnStep,
    }));
  }
  const radius = radiusFor(count);
  const reachX = Math.min(width / 2 - Math.min(56, width * 0.13), 420);
  const reachY = height / 2 - radius - labelHeight - 6;
  return Array.from({ length: count }, (_, index) => {
    const turn = count === 1 ? 0 : (index / count) * 2 * Math.PI + Math.PI;
    const share = count > oneRing && index % 2 === 1 ? 0.6 : 1;
    return { x: width / 2 + reachX * share * Math.cos(turn), y: height / 2 - 8 + reachY * share * Math.sin(turn) };
  });
}

const heightFor = (count, width) =>
  inColumns(count, width) ? Math.ceil(count / 2) * columnStep : count <= 2 ? 120 : count <= oneRing ? 300 : 440;

function link(from, to, peer, radius) {
  const far = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const step = { x: (to.x - from.x) / far, y: (to.y - from.y) / far };
  const ends = {
    x1: from.x + step.x * selfRadius,
    y1: from.y + step.y * selfRadius,
    x2: to.x - step.x * radius,
    y2: to.y - step.y * radius,
  };
  // Two lanes, so that what comes and what goes can be told apart.
  const lane = (off, name) =>
    svg("line", {
      class: `flow ${name}`,
      x1: ends.x1 - step.y * off,
      y1: ends.y1 + step.x * off,
      x2: ends.x2 - step.y * off,
      y2: ends.y2 + step.x * off,
    });
  return svg(
    "g",
    { class: "link", "data-state": peer.state, "data-peer": nameOf(peer) },
    svg("line", { class: "line", ...ends }),
    lane(-4, "out"),
    lane(4, "in"),
  );
}

function machine(place, text, size, state, width) {
  return svg(
    "g",
    { class: "machine", "data-state": state, transform: `translate(${place.x.toFixed(1)} ${place.y.toFixed(1)})` },
    svg("circle", { r: size }),
    state === "self"
      ? svg("path", { class: "glyph", d: "M-10 -3 h18 m-5 -4 l5 4 M10 4 h-18 m5 4 l-5 -4" })
      : svg("path", { class: "glyph", d: glyphs[state] ?? "" }),
    svg("text", { y: size + 15, "text-anchor": "middle", translate: "no" }, shortened(text, width), svg("title", {}, text)),
  );
}

/** `flows`: by name of peer, until when rows are shown to flow, in milliseconds: { in, out }. */
export function picture(self, peers, width) {
  const height = heightFor(peers.length, width);
  const radius = radiusFor(peers.length);
  const middle = { x: width / 2, y: height / 2 - 8 };
  if (peers.length === 1) {
    middle.x = width / 2 - Math.min(width * 0.28, 220);
  }
  const around = places(peers.length, width, height);
  if (peers.length === 1) {
    around[0] = { x: width / 2 + Math.min(width * 0.28, 220), y: middle.y };
  }
  const room = peers.length <= 2 ? width / 3 : 106;
  return svg(
    "svg",
    {
      class: "fleet",
      role: "img",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      "aria-label": t("machines.picture", {
        name: self,
        count: peers.length,
        connected: peers.filter((peer) => peer.state === "connected").length,
      }),
    },
    peers.map((peer, index) => link(middle, around[index], peer, radius)),
    machine(middle, self, selfRadius, "self", Math.max(room, 90)),
    peers.map((peer, index) => machine(around[index], nameOf(peer), radius, peer.state, room)),
  );
}

/** Sets lines in motion, or lets them rest. */
export function showFlows(place, flows, now) {
  for (const one of place.querySelectorAll(".link")) {
    const flow = flows[one.dataset.peer] ?? {};
    one.classList.toggle("flows-in", (flow.in ?? 0) > now);
    one.classList.toggle("flows-out", (flow.out ?? 0) > now);
  }
}

