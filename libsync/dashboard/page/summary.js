// The first thing one sees: one sentence with a sign, and where it is not good, why and what to do.
import { byId, data, el, fromNode, renew, svg } from "./dom.js";
import { confirmedWithin, nameOf, others, since } from "./store.js";
import { duration, has, listed, moment, say, t, time } from "./texts.js";

const namesShown = 4;

/** Which sentence, and how good that is: good, attention, bad, quiet. */
export function judge(state) {
  if (state.status === null) {
    return state.lost ? { key: "lost", level: "bad" } : { key: "loading", level: "quiet" };
  }
  if (state.lost) {
    return { key: "lost", level: "bad" };
  }
  const status = state.status;
  if (status.status === "down") {
    return status.causes[0]?.kind === "starting" ? { key: "starting", level: "attention" } : { key: "bad", level: "bad" };
  }
  if (status.status !== "healthy") {
    return { key: "attention", level: "attention" };
  }
  if (others(status).length === 0) {
    return { key: "alone", level: "quiet" };
  }
  return { key: moving(status) > 0 ? "moving" : "good", level: "good" };
}

function moving(status) {
  return others(status)
    .flatMap((peer) => [peer.lag.outgoing, peer.lag.incoming])
    .filter((lag) => (lag.seconds ?? 0) > confirmedWithin)
    .reduce((sum, lag) => sum + lag.rows, 0);
}

const signs = {
  good: "M10 17.5 l5 5 l10 -11",
  attention: "M17.5 9 v10 M17.5 24.5 v0.5",
  bad: "M11.5 11.5 l12 12 M23.5 11.5 l-12 12",
  quiet: "M11 17.5 h0.1 M17.5 17.5 h0.1 M24 17.5 h0.1",
};

const sign = (level) => svg("svg", { viewBox: "0 0 35 35" }, svg("path", { d: signs[level] }));

function detail(key, state) {
  const status = state.status;
  if (key === "good") {
    const peers = others(status);
    const names = peers.map(nameOf);
    const begun = peers.map((peer) => since(status, peer)).filter((at) => at !== undefined).sort().at(-1);
    const many = t("summary.someMachines", { count: names.length });
    return begun === undefined
      ? data(names.length > namesShown ? many : listed(names))
      : say("summary.goodDetail", { names: names.length > namesShown ? many : listed(names), time: time(begun, "at") });
  }
  if (key === "moving") {
    return say("summary.movingDetail", { count: moving(status) });
  }
  if (key === "alone") {
    const named = status.network.discovery === "off";
    return say(named ? "summary.aloneNamedDetail" : "summary.aloneDetail", { port: String(status.network.port) });
  }
  if (key === "lost") {
    return say("summary.lostDetail", { time: moment(new Date(state.lost)) });
  }
  return has(`summary.${key}Detail`) ? say(`summary.${key}Detail`) : null;
}

function cause(one) {
  const values = { peer: one.peer ?? "", count: one.count, duration: duration(Math.abs(one.seconds)) };
  const why = `why.${one.reason}`;
  const next = [`${why}.next`, `cause.${one.kind}.next`].find(has);
  return el(
    "li",
    {},
    el(
      "p",
      {},
      el("strong", {}, has(`cause.${one.kind}`) ? say(`cause.${one.kind}`, values) : fromNode(one.text)),
      has(why) ? [" ", ...say(why)] : null,
      next ? [" ", ...say(next)] : null,
      one.kind === "conflicts_open"
        ? [" ", el("a", { href: "#conflicts-title" }, t("cause.conflicts_open.link"))]
        : null,
    ),
    el(
      "details",
      {},
      el("summary", {}, t("summary.exact")),
      el("p", {}, fromNode(one.next ? `${one.text}; ${one.next}` : one.text)),
    ),
  );
}

export function showSummary(state) {
  const { key, level } = judge(state);
  const place = byId("summary");
  place.dataset.level = level;
  renew(byId("summary-sign"), level, () => sign(level));
  // A screen reader says it again when it is put there again.
  renew(byId("summary-title"), key, () => t(`summary.${key}`));
  const name = state.status?.node.name ?? "mbsync";
  document.title = t("page.title", { name, sentence: t(`summary.${key}`) });
  // Times within sentences are refreshed in place.
  const facts = [key, state.lost, key === "moving" && moving(state.status), key === "good" && state.status.fleet.map((peer) => [nameOf(peer), peer.state, since(state.status, peer)])];
  renew(byId("summary-detail"), facts, () => detail(key, state) ?? []);
  const causes = ["attention", "bad", "starting"].includes(key) ? state.status.causes : [];
  const list = byId("summary-causes");
  list.hidden = causes.length === 0;
  // What counts up (for how long) makes no new text each time.
  const lasting = causes.map((one) => [one.kind, one.peer, one.reason, one.count, Math.floor(one.seconds / 60)]);
  renew(list, lasting, () => causes.map(cause));
  byId("facts").classList.toggle("stale", state.lost !== 0);
  renew(byId("self"), name, () => (state.status ? say("page.self", { name }) : []));
  const link = byId("link-state");
  link.dataset.lost = state.lost !== 0;
  renew(link, [state.lost, state.status === null], () =>
    state.status === null ? [] : state.lost ? say("page.lost", { time: moment(new Date(state.lost)) }) : say("page.live"));
}
