// Asks this node's API. The token, where one is needed, is kept for as long as the tab is open and goes along in a header.

const tokenPlace = "mbsync-token";
const patience = 10000;

/** The node has answered, and refuses. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? "");
    this.status = status;
    this.kind = error?.kind ?? "";
    this.hint = error?.hint ?? "";
  }
}

export const hasToken = () => sessionStorage.getItem(tokenPlace) !== null;
export const setToken = (token) => sessionStorage.setItem(tokenPlace, token);
export const dropToken = () => sessionStorage.removeItem(tokenPlace);

function headers(more = {}) {
  const token = sessionStorage.getItem(tokenPlace);
  return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

async function answer(response) {
  const document = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Refused(response.status, document.error);
  }
  return document;
}

/** Throws Refused, or whatever fetch throws where nobody answers. */
export async function get(path) {
  return answer(await fetch(path, { headers: headers(), cache: "no-store", signal: AbortSignal.timeout(patience) }));
}

export async function post(path, body, wait = patience) {
  return answer(
    await fetch(path, {
      method: "POST",
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(wait),
    }),
  );
}

/** Events as they happen, after the one with this id, as lists of what comes together. EventSource would do it, but cannot bear a token. */
export async function* events(after, signal) {
  const response = await fetch("/api/sync/events", {
    headers: headers(after === "" ? {} : { "Last-Event-ID": after }),
    cache: "no-store",
    signal,
  });
  if (!response.ok) {
    await answer(response);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    const lines = blocks.flatMap((block) => block.split("\n")).filter((line) => line.startsWith("data: "));
    if (lines.length > 0) {
      yield lines.map((line) => JSON.parse(line.slice("data: ".length)));
    }
  }
}
