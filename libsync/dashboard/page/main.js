// Starts the page: asks the node again and again, hears its events, and shows what has changed.
import { showActivity, startActivity } from "./activity.js";
import { dropToken, events, get, hasToken, Refused } from "./api.js";
import { showConflicts } from "./conflicts.js";
import { byId, renew } from "./dom.js";
import { showEvents } from "./events.js";
import { showFlows } from "./picture.js";
import { showMachines, startMachines } from "./machines.js";
import { change, listen, state, withEvent } from "./store.js";
import { showSummary } from "./summary.js";
import { fillPage, refreshTimes, say, time } from "./texts.js";
import { showToken } from "./token.js";

const statusEvery = 3000;
const statsEvery = 10000;
const soon = 250; // after an event; several come together
const eventsAgain = 3000;
const eventsFullAgain = 15000; // all streams that a node gives are taken
const flowFor = 2500;

let statusTimer = 0;
let statsTimer = 0;
let asking = false;

const later = (timer, work, wait) => {
  clearTimeout(timer);
  return document.hidden ? 0 : setTimeout(work, wait);
};

function locked(error) {
  if (!(error instanceof Refused) || error.status !== 401) {
    return false;
  }
  const wrong = hasToken();
  dropToken();
  hearing?.abort();
  clearTimeout(statsTimer);
  change({ locked: wrong ? "wrong" : "asked", lost: 0 });
  return true;
}

async function readStatus() {
  if (asking) {
    return;
  }
  asking = true;
  let facts;
  try {
    facts = { status: await get("/api/sync/service"), lost: 0, locked: "" };
  } catch (error) {
    facts = error;
  }
  asking = false;
  if (facts instanceof Error && locked(facts)) {
    return;
  }
  statusTimer = later(statusTimer, readStatus, statusEvery);
  change(facts instanceof Error ? { lost: state.lost || Date.now() } : facts);
}

async function readStats() {
  try {
    change({ stats: await get(`/api/sync/stats?minutes=${state.range}`) });
  } catch {
    // What is wrong is said by readStatus().
  }
  statsTimer = later(statsTimer, readStats, statsEvery);
}

function flow(event) {
  const way = { rows_arrived: "in", rows_sent: "out" }[event.kind];
  if (way === undefined || Date.now() - new Date(event.at) > 5000) {
    return;
  }
  state.flows[event.peer] = { ...state.flows[event.peer], [way]: Date.now() + flowFor };
  setTimeout(() => showFlows(byId("picture"), state.flows, Date.now()), flowFor + 50);
}

let lastEvent = "";

/** Of this process, and told already: a node that has forgotten the last one begins with the oldest it has. */
function isNew(event) {
  const [start, number] = event.id.split("-");
  const [lastStart, lastNumber] = lastEvent.split("-");
  return start !== lastStart || Number(number) > Number(lastNumber);
}

function take(list) {
  const fresh = list.filter(isNew);
  if (fresh.length === 0) {
    return;
  }
  lastEvent = fresh.at(-1).id;
  fresh.forEach(flow);
  change({ events: fresh.reduce(withEvent, state.events) });
  statusTimer = later(statusTimer, readStatus, soon);
  if (fresh.some((event) => event.kind.startsWith("rows_"))) {
    statsTimer = later(statsTimer, readStats, soon);
  }
}

async function hearEvents(signal) {
  while (!signal.aborted) {
    let wait = eventsAgain;
    try {
      for await (const list of events(lastEvent, signal)) {
        take(list);
      }
    } catch (error) {
      wait = error instanceof Refused ? eventsFullAgain : eventsAgain;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

let hearing = null;

/** Nobody looks: no questions are asked, and the stream is left to others. */
function seeWhetherSeen() {
  hearing?.abort();
  hearing = null;
  clearTimeout(statusTimer);
  clearTimeout(statsTimer);
  if (!document.hidden) {
    begin();
  }
}

async function begin() {
  hearing?.abort();
  hearing = new AbortController();
  const { signal } = hearing;
  await readStatus();
  if (!signal.aborted && state.locked === "") {
    readStats();
    hearEvents(signal);
  }
}

function showFooter({ status }) {
  const facts = status && [status.version, status.node.name, status.service.since];
  renew(byId("footer"), facts, () =>
    facts ? say("page.footer", { version: status.version, name: status.node.name, time: status.service.since ? time(status.service.since, "at") : "" }) : []);
}

fillPage();
startMachines(state);
startActivity(state, (minutes) => {
  change({ range: minutes });
  readStats();
});
for (const part of [showSummary, showMachines, showActivity, showConflicts, showEvents, showFooter]) {
  listen(part);
}
listen((now) => showToken(now, begin));
setInterval(refreshTimes, 5000);
document.addEventListener("visibilitychange", seeWhetherSeen);
change({});
begin();
