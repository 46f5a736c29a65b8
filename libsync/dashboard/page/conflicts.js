// The list of conflicts, by what has become of them; one that is chosen is shown below it.
import { get, Refused } from "./api.js";
import { closeConflict, openConflict } from "./conflict.js";
import { byId, data, el, fromNode, renew, table } from "./dom.js";
import { has, listed, t, time } from "./texts.js";

const states = ["open", "decided", "resolved"];
const listedMax = 50;

let wanted = ""; // empty: what there is to decide or, if there is nothing, what rules have decided
let list = null;
let shown = ""; // the state that `list` is of
let counted = ""; // by which numbers of the status it was read
let reading = false;
let again = false; // something has changed while it was read

const what = (conflict) =>
  conflict.columns.length > 0
    ? data(listed(conflict.columns))
    : t(has(`kind.${conflict.kind}`) ? `kind.${conflict.kind}` : "kind.values");

function lines() {
  const open = (conflict) =>
    el(
      "button",
      { type: "button", class: "link", "data-id": conflict.id, "aria-label": t("conflicts.openOne", { key: conflict.key }),
        onclick: () => openConflict(conflict.id, changed) },
      data(conflict.key),
    );
  const heads = ["row", "table", "columns", "who", "when"].map((key) => t(`conflicts.${key}`));
  const rows = list.conflicts.map((conflict) => [
    open(conflict),
    data(conflict.table),
    what(conflict),
    data(listed(conflict.nodes)),
    conflict.at ? time(conflict.at) : "",
  ]);
  return rows.length === 0
    ? el("p", { class: "quiet" }, t(`conflicts.none.${shown}`))
    : [table(t("conflicts.caption"), heads, rows, { class: "stacks" }), list.more ? el("p", {}, t("conflicts.more")) : null];
}

function show() {
  const group = byId("conflicts-states");
  group.setAttribute("aria-label", t("conflicts.which"));
  const choose = (state) => {
    wanted = state;
    closeConflict();
    read();
  };
  // Its buttons stay, so that the one that has the focus keeps it.
  if (group.childElementCount === 0) {
    group.append(...states.map((state) => el("button", { type: "button", value: state, onclick: () => choose(state) })));
  }
  for (const button of group.children) {
    button.textContent = t(`conflicts.${button.value}`, { count: list[button.value] });
    button.setAttribute("aria-pressed", String(button.value === shown));
  }
  // Which line has the focus, so that it has it again.
  const focused = document.activeElement?.dataset?.id;
  if (renew(byId("conflicts-list"), [shown, list], lines) && focused) {
    byId("conflicts-list").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }
}

async function read() {
  again = reading;
  if (reading) {
    return;
  }
  reading = true;
  try {
    let state = wanted || "open";
    let fresh = await get(`/api/sync/conflicts?state=${state}&limit=${listedMax}`);
    if (wanted === "" && fresh.open === 0 && fresh.decided > 0) {
      state = "decided";
      fresh = await get(`/api/sync/conflicts?state=${state}&limit=${listedMax}`);
    }
    list = fresh;
    shown = state;
    show();
  } catch (error) {
    counted = "";
    if (error instanceof Refused) {
      renew(byId("conflicts-list"), error.message, () =>
        el("p", { class: "trouble" }, t("conflicts.trouble"), " ", fromNode(error.message)));
    }
  }
  reading = false;
  if (again) {
    read();
  }
}

/** A decision was made. */
function changed() {
  if (wanted === "") {
    wanted = shown;
  }
  read();
}

export function showConflicts(state) {
  const status = state.status;
  if (status?.open_conflicts === undefined) {
    return;
  }
  const numbers = JSON.stringify([status.open_conflicts, status.conflicts, status.resolved_conflicts]);
  if (numbers !== counted && !state.lost) {
    counted = numbers;
    read();
  }
}
