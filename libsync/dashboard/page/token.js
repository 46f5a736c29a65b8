// Asks for the token of a node that has one.
import { setToken } from "./api.js";
import { byId, el, renew } from "./dom.js";
import { t } from "./texts.js";

export function showToken(state, again) {
  const place = byId("token");
  place.hidden = state.locked === "";
  byId("facts").hidden = state.locked !== "" && state.status === null;
  const fresh = renew(place, state.locked, () => (state.locked === "" ? null : form(state.locked === "wrong", again)));
  if (fresh && state.locked !== "") {
    byId("token-field").focus();
  }
}

function form(wrong, again) {
  const field = el("input", {
    id: "token-field",
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-describedby": "token-what",
    "aria-invalid": wrong ? "true" : null,
  });
  const enter = (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    again();
  };
  return el(
    "form",
    { onsubmit: enter },
    el("h1", { id: "token-title" }, t("token.title")),
    el("p", { id: "token-what" }, t("token.what")),
    wrong && el("p", { role: "alert", class: "trouble" }, t("token.wrong")),
    el("label", { for: "token-field" }, t("token.label")),
    el("div", { class: "row-of-buttons" }, field, el("button", { type: "submit", class: "main" }, t("token.enter"))),
  );
}
