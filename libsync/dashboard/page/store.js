// What the page knows, and who wants to hear when that changes. All that is shown is made of this.

export const state = {
  status: null, // GET /api/sync/service
  lost: 0, // since when the node does not answer, in milliseconds; 0: it does
  locked: "", // the node asks for its token: "asked", or "wrong"
  stats: null, // GET /api/sync/stats
  range: 60, // minutes that the plots show
  events: [], // the latest first
  flows: {}, // by the peer's name, until when rows are shown to flow: { in, out }
};

const listeners = [];

export const listen = (listener) => listeners.push(listener);

export function change(facts) {
  Object.assign(state, facts);
  for (const listener of listeners) {
    listener(state);
  }
}

/**
 * A machine says what it has with its next question, which may be an exchange interval later (SYNC_INTERVAL, half a
 * minute). So what has been lacking for a shorter time, in seconds, is no news: it is there already, mostly.
 */
export const confirmedWithin = 60;

/** Machines that are waited for: the fleet without those that are gone. */
export const others = (status) => status.fleet.filter((peer) => peer.state !== "away" && peer.state !== "banned");

/** Since when a peer is connected or not, as this process has seen it; undefined: it has not. */
export const since = (status, peer) => status.process?.peers.find((facts) => facts.id === peer.id)?.since;

export const nameOf = (peer) => peer.name || peer.id;

const eventsKept = 200;
const together = 60000;

/** What goes on arriving is one line that counts, not a line a second. */
export function withEvent(events, event) {
  const last = events[0];
  const same =
    last !== undefined &&
    (event.kind === "rows_arrived" || event.kind === "rows_sent") &&
    last.kind === event.kind &&
    last.peer === event.peer &&
    new Date(event.at) - new Date(last.from ?? last.at) < together;
  const rest = same ? events.slice(1) : events;
  const next = same
    ? { ...event, from: last.from ?? last.at, details: { rows: last.details.rows + event.details.rows } }
    : event;
  return [next, ...rest].slice(0, eventsKept);
}
