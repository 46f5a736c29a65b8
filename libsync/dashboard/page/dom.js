// Makes elements. Whatever is shown becomes text, never markup: names, row values and messages come from elsewhere.

const svgSpace = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element with attributes (`onclick` and the like are listeners) and children: nodes, or texts. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(svgSpace, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** What is not of this page: a name, a value, a number. Translators and browsers leave it alone. */
export const data = (text, attributes = {}) => el("span", { translate: "no", ...attributes }, String(text));

/** A sentence that the node has made, which is English whatever language the page is in. */
export const fromNode = (text, attributes = {}) => el("span", { lang: "en", ...attributes }, String(text));

const shown = new WeakMap();

/** Puts into `place` what `make` returns, unless it was made of the same facts the last time. */
export function renew(place, facts, make) {
  const mark = JSON.stringify(facts);
  if (shown.get(place) === mark) {
    return false;
  }
  shown.set(place, mark);
  place.replaceChildren(...[make()].flat().filter((child) => child !== null && child !== undefined));
  return true;
}

/**
 * A table with a caption. Roles are said, since on a phone the style makes blocks of cells, by which some browsers
 * forget what they are. `heads`: texts; `rows`: lists of contents, of which the first is the row's head.
 */
export function table(caption, heads, rows, attributes = {}) {
  const labelled = (cell, index) =>
    el(
      index === 0 ? "th" : "td",
      { role: index === 0 ? "rowheader" : "cell", scope: index === 0 ? "row" : null, "data-head": heads[index] },
      cell,
    );
  return el(
    "table",
    { role: "table", ...attributes },
    el("caption", {}, caption),
    el(
      "thead",
      { role: "rowgroup" },
      el("tr", { role: "row" }, heads.map((head) => el("th", { role: "columnheader", scope: "col" }, head))),
    ),
    el(
      "tbody",
      { role: "rowgroup" },
      rows.map((cells) => el("tr", { role: "row" }, cells.map(labelled))),
    ),
  );
}
