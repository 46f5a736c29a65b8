// The machines: the picture, the table that says the same, how those come along that are behind, and a round at once.
import { post, Refused } from "./api.js";
import { byId, data, el, fromNode, renew, table } from "./dom.js";
import { picture, showFlows } from "./picture.js";
import { confirmedWithin, nameOf, since } from "./store.js";
import { duration, has, listed, say, t, time } from "./texts.js";

const roundPatience = 120000;
/** Fewer changes than these are there before anybody has read that they are lacking. */
const worthProgress = 20;

// By the peer's id and direction, how many changes were lacking when it began to catch up.
const lackedAtFirst = new Map();

function lacking(lag) {
  if (lag.rows === 0) {
    return data(t("machines.nothing"));
  }
  const values = { count: lag.rows, duration: duration(Math.round(lag.seconds ?? 0)) };
  return say(lag.seconds >= 1 ? "machines.lacksFor" : "machines.lacks", values);
}

function stateOf(peer) {
  const why = `why.${peer.reason}`;
  return el(
    "span",
    { class: "state", "data-state": peer.state },
    t(`state.${peer.state}`),
    has(why) ? el("span", { class: "why" }, say(why)) : null,
    peer.why_not && !has(why) ? el("span", { class: "why" }, fromNode(peer.why_not)) : null,
  );
}

function peersTable(status) {
  const heads = ["name", "state", "since", "theyLack", "weLack", "exchange", "address"].map((key) => t(`machines.${key}`));
  const rows = status.fleet.map((peer) => {
    const begun = since(status, peer);
    return [
      data(nameOf(peer)),
      stateOf(peer),
      begun ? time(begun, "at") : t("machines.unknown"),
      lacking(peer.lag.outgoing),
      lacking(peer.lag.incoming),
      peer.last_exchange ? time(peer.last_exchange) : t("machines.never"),
      peer.address ? data(peer.address, { class: "address" }) : t("machines.unknown"),
    ];
  });
  return table(t("machines.caption"), heads, rows, { class: "stacks" });
}

/** How far a peer has come that lacked much, from when this page first saw that. */
function progress(peer, lag, key) {
  const id = `${peer.id} ${key}`;
  if (lag.rows === 0 || (lag.seconds ?? 0) < confirmedWithin) {
    lackedAtFirst.delete(id);
    return null;
  }
  const all = Math.max(lag.rows, lackedAtFirst.get(id) ?? 0);
  lackedAtFirst.set(id, all);
  if (all < worthProgress || peer.state !== "connected") {
    return null;
  }
  const done = all - lag.rows;
  return el(
    "label",
    { class: "progress" },
    el("span", {}, say(key, { name: nameOf(peer), done, all })),
    el("progress", { max: all, value: done }),
  );
}

async function exchangeNow(event) {
  const button = event.currentTarget;
  const said = byId("sync-said");
  button.disabled = true;
  said.replaceChildren(...say("machines.syncing"));
  try {
    const round = await post("/api/sync/service", { action: "sync" }, roundPatience);
    const key = round.peers.length === 0 ? "syncedAlone" : round.in_step ? "synced" : "syncedPartly";
    said.replaceChildren(...say(`machines.${key}`));
  } catch (error) {
    said.replaceChildren(...(error instanceof Refused ? [fromNode(error.message)] : say("failed.unreachable")));
  }
  button.disabled = false;
}

let width = 0;

function drawn(state) {
  const place = byId("picture");
  const status = state.status;
  if (status === null || width === 0) {
    return;
  }
  const facts = [width, status.node.name, status.fleet.map((peer) => [peer.id, peer.name, peer.state])];
  renew(place, facts, () => (status.fleet.length === 0 ? null : picture(status.node.name, status.fleet, width)));
  showFlows(place, state.flows, Date.now());
}

export function showMachines(state) {
  const status = state.status;
  if (status === null) {
    return;
  }
  drawn(state);
  const place = byId("machines-table");
  // Named or found, and nobody has answered there yet.
  const silent = (status.addresses_without_answer ?? []).map((one) => one.address);
  const told = [status.fleet.map((peer) => [peer, since(status, peer)]), silent];
  renew(place, told, () =>
    status.fleet.length === 0
      ? el("p", {}, silent.length === 0 ? t("machines.none") : say("machines.noneAnswers", { addresses: listed(silent) }))
      : [
          peersTable(status),
          el("p", { class: "quiet small" }, t("machines.confirmed")),
          ...status.fleet.flatMap((peer) => [
            progress(peer, peer.lag.outgoing, "machines.progress"),
            progress(peer, peer.lag.incoming, "machines.progressHere"),
          ]),
        ]);
  const alone = status.fleet.length === 0;
  byId("machines").dataset.alone = alone;
  byId("sync").hidden = alone;
}

export function startMachines(state) {
  byId("sync").addEventListener("click", exchangeNow);
  new ResizeObserver((entries) => {
    width = Math.round(entries[0].contentRect.width);
    drawn(state);
  }).observe(byId("picture"));
}
