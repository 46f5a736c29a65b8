// Asks once more before a row is changed, and shows what it will be. A <dialog> keeps the focus, and Escape closes it.
import { data, el, table } from "./dom.js";
import { say, t } from "./texts.js";

/** A value of a row as it is shown. */
export const cellOf = (value) =>
  value === null || value === undefined
    ? el("em", {}, t("conflict.null"))
    : value === ""
      ? el("em", {}, t("conflict.blank"))
      : data(value, { class: "value" });

function outcome(how, row, then) {
  if (how === "undo") {
    return el("p", {}, t("confirm.undoWhat"));
  }
  if (how === "keep" && then === null) {
    return el("p", {}, t("confirm.delete"));
  }
  const values = how === "accept" ? (row.exists ? row.values : null) : then;
  if (values === null) {
    return el("p", {}, t("conflict.absent"));
  }
  const heads = [t("conflict.column"), ...(how === "accept" ? [] : [t("confirm.now")]), t("confirm.then")];
  const rows = Object.entries(values).map(([column, value]) => {
    const same = row.exists && row.values[column] === value;
    const now = row.exists ? cellOf(row.values[column]) : "—";
    const next = same ? cellOf(value) : el("strong", {}, cellOf(value));
    return how === "accept" ? [data(column), next] : [data(column), now, next];
  });
  return [el("p", {}, t("confirm.what")), el("div", { class: "scrolls" }, table(t("confirm.caption"), heads, rows))];
}

/** Whether a person says yes. `name`: whose version; `then`: the row with it, or null if it will be deleted. */
export function confirmed(how, version, row, name, then) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = el("dialog", { "aria-labelledby": "confirm-title" });
    const yes = () => {
      answer = true;
      dialog.close();
    };
    const key = { accept: "confirm.keep", keep: "confirm.take", undo: "confirm.undo" }[how];
    dialog.append(
      el("h3", { id: "confirm-title" }, say(key, { name: name ?? "" })),
      ...[outcome(how, row, then)].flat(),
      el(
        "div",
        { class: "row-of-buttons" },
        el("button", { type: "button", onclick: () => dialog.close() }, t("confirm.no")),
        el("button", { type: "button", class: "main", onclick: yes }, t("confirm.yes")),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
