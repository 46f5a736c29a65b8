// What has happened lately, in plain words. Where the page has a sentence of its own it says that, and otherwise the
// node's.
import { byId, el, fromNode, renew } from "./dom.js";
import { has, say, t, time } from "./texts.js";

const few = 8;
let all = false;

const signs = {
  peer_connected: "good",
  database_back: "good",
  peer_lost: "bad",
  peer_unreachable: "bad",
  database_lost: "bad",
  row_parked: "bad",
  rows_differ: "bad",
  conflict: "attention",
  rows_arrived: "in",
  rows_sent: "out",
};

/** These have a reason that only the node's sentence tells. */
const reasonMatters = new Set(["peer_lost", "peer_unreachable", "database_lost", "row_parked"]);

function line(event) {
  const key = `event.${event.kind}`;
  const count = event.details.rows ?? event.details.conflicts ?? 0;
  return el(
    "li",
    { "data-sign": signs[event.kind] ?? "quiet", "data-kind": event.kind },
    el("p", {}, has(key) ? say(key, { peer: event.peer ?? "", address: event.details.address ?? "", count }) : fromNode(event.text)),
    reasonMatters.has(event.kind) ? el("p", { class: "why" }, fromNode(event.text)) : null,
    time(event.at),
  );
}

export function showEvents(state) {
  const place = byId("events-list");
  const told = all ? state.events : state.events.slice(0, few);
  const toggle = () => {
    all = !all;
    showEvents(state);
    byId("events-more")?.focus();
  };
  renew(place, [all, told, state.events.length > few], () =>
    told.length === 0
      ? el("p", { class: "quiet" }, t("events.none"))
      : [
          el("ol", { class: "events" }, told.map(line)),
          state.events.length > few
            ? el("button", { type: "button", id: "events-more", "aria-expanded": String(all), onclick: toggle },
                t(all ? "events.few" : "events.all"))
            : null,
        ]);
}
