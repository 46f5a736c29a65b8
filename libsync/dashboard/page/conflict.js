// One conflict: what stands and the versions side by side, and the decision.
import { get, post, Refused } from "./api.js";
import { cellOf, confirmed } from "./confirm.js";
import { byId, data, el, fromNode } from "./dom.js";
import { listed, say, t, time } from "./texts.js";

let details = null;
let whenChanged = () => {};
let opening = ""; // the id that was asked for last

const nameOf = (version) => version.node.name || version.node.id;

/** The row as it would be with this version: what the version does not say stays as it is. */
export function rowWith(row, version) {
  return version.deleted ? null : { ...(row.exists ? row.values : {}), ...version.values };
}

const isSame = (row, version) =>
  version.deleted
    ? !row.exists
    : row.exists && Object.entries(version.values).every(([column, value]) => !(column in row.values) || row.values[column] === value);

/** Those that differ first, then those of the versions, then the rest of the row. */
function columnsOf({ conflict, versions, row }) {
  const all = [...conflict.columns, ...versions.flatMap((one) => Object.keys(one.values)), ...Object.keys(row.values)];
  return [...new Set(all)];
}

function heading(version) {
  return [data(nameOf(version)), version.at ? time(version.at) : null].filter(Boolean);
}

function cells(column, concerned) {
  const { versions, row } = details;
  const label = (text) => ({ "data-head": text, role: "cell" });
  const now = row.exists ? cellOf(row.values[column]) : "—";
  return el(
    "tr",
    { role: "row", class: concerned ? "concerned" : "" },
    el("th", { scope: "row", role: "rowheader", "data-head": t("conflict.column") }, data(column)),
    el("td", { ...label(t("conflict.now")), class: "now" }, now),
    versions.map((version) => {
      const says = column in version.values && !version.deleted;
      const differs = says && (!row.exists || version.values[column] !== row.values[column]);
      return el(
        "td",
        { ...label(nameOf(version)), class: differs ? "differs" : "" },
        version.deleted
          ? el("em", {}, t("conflict.deleted"))
          : says
            ? [cellOf(version.values[column]), differs ? el("span", { class: "visually-hidden" }, ` (${t("conflict.differs")})`) : null]
            : el("em", {}, t("conflict.same")),
      );
    }),
  );
}

function sideBySide() {
  const { conflict, versions, row } = details;
  const columns = columnsOf(details);
  const concerned = new Set(conflict.columns.length > 0 ? conflict.columns : columns);
  const head = (content, attributes = {}) => el("th", { scope: "col", role: "columnheader", ...attributes }, content);
  const choice = (content, label) => el("td", { role: "cell", "data-head": label }, content);
  const decided = conflict.state === "resolved";
  const take = (version) =>
    isSame(row, version)
      ? el("span", { class: "quiet" }, t("conflict.standsAlready"))
      : el(
          "button",
          { type: "button", "aria-label": t("conflict.takeName", { version: version.version, name: nameOf(version) }),
            onclick: () => decide("keep", version) },
          t("conflict.take"),
        );
  return el(
    "table",
    { role: "table", class: "versions stacks" },
    el("caption", {}, t("conflict.caption")),
    el(
      "thead",
      { role: "rowgroup" },
      el("tr", { role: "row" }, head(t("conflict.column")), head(t("conflict.now"), { class: "now" }), versions.map((one) => head(heading(one)))),
    ),
    el("tbody", { role: "rowgroup" }, columns.map((column) => cells(column, concerned.has(column)))),
    decided
      ? null
      : el(
          "tfoot",
          { role: "rowgroup" },
          el(
            "tr",
            { role: "row" },
            el("td", { role: "cell" }),
            choice(el("button", { type: "button", class: "main", onclick: () => decide("accept") }, t("conflict.keep")), t("conflict.now")),
            versions.map((version) => choice(take(version), nameOf(version))),
          ),
        ),
  );
}

function draw(said = null) {
  const place = byId("conflict");
  const { conflict, row, after } = details;
  const decided = conflict.state === "resolved";
  place.replaceChildren(
    el(
      "section",
      { class: "conflict", "aria-labelledby": "conflict-title", "data-state": conflict.state },
      el("h3", { id: "conflict-title", tabindex: "-1" }, say("conflict.title", { table: conflict.table, key: conflict.key })),
      el("p", {}, say("conflict.who", { names: listed(conflict.nodes) })),
      el("div", { id: "conflict-said" }, said),
      decided && !said ? el("p", {}, t("conflict.decidedBefore")) : null,
      row.unreadable ? el("p", { class: "trouble" }, t("conflict.unreadable"), " ", fromNode(row.unreadable)) : null,
      row.exists || row.unreadable ? null : el("p", {}, el("strong", {}, t("conflict.absent"))),
      after.writes.length > 0 && !decided ? el("p", { class: "hint" }, t("conflict.since")) : null,
      el("div", { class: "scrolls" }, sideBySide()),
      el(
        "div",
        { class: "row-of-buttons" },
        decided ? el("button", { type: "button", onclick: () => decide("undo") }, t("conflict.undo")) : null,
        el("button", { type: "button", onclick: back }, t("conflict.close")),
      ),
    ),
  );
}

/** Closed by a person: the focus goes where it came from, if that is still there. */
function back() {
  const line = byId("conflicts-list").querySelector(`[data-id="${CSS.escape(details.conflict.id)}"]`);
  closeConflict();
  (line ?? byId("conflicts-title")).focus();
}

export function closeConflict() {
  opening = "";
  details = null;
  byId("conflict").replaceChildren();
}

const trouble = (...parts) => el("p", { role: "alert", class: "trouble" }, parts);

async function load(id) {
  opening = id;
  const fresh = await get(`/api/sync/conflicts/${encodeURIComponent(id)}`);
  if (opening === id) {
    details = fresh;
  }
}

/** `changed`: called when a decision was made. */
export async function openConflict(id, changed) {
  whenChanged = changed;
  try {
    await load(id);
    draw();
    byId("conflict-title").focus();
  } catch (error) {
    byId("conflict").replaceChildren(
      trouble(t("conflicts.trouble"), " ", error instanceof Refused ? fromNode(error.message) : ""));
  }
}

async function decide(how, version = null) {
  const { conflict, row, stamp } = details;
  if (!(await confirmed(how, version, row, version && nameOf(version), version && rowWith(row, version)))) {
    return;
  }
  const decision = { how };
  if (how !== "undo") {
    // The row, and what others have decided, have to be as they were shown.
    Object.assign(decision, { stamp, shown: { exists: row.exists, values: row.values } });
  }
  if (how === "keep") {
    decision.version = version.version;
  }
  let said;
  try {
    const report = await post(`/api/sync/conflicts/${conflict.id}`, decision);
    const notes = report.notes.map((note) => el("p", {}, fromNode(note)));
    said = el("div", { class: "done", role: "status" }, el("p", {}, t(`done.${how}`)), notes);
  } catch (error) {
    said = error instanceof Refused
      ? trouble(el("strong", {}, t("failed.nothing")), " ", fromNode(error.message), " ", t("failed.again"))
      : trouble(t("failed.unreachable"));
  }
  await load(conflict.id).catch(() => {});
  if (details !== null) {
    draw(said);
    byId("conflict-title").focus();
  }
  whenChanged();
}

