// SPDX-License-Identifier: Apache-2.0
// Who is at the page, where the server wants to know: name and password go to the server's own realm, which gives a token.
// The token stays in this tab; the password is not kept.

import { element } from "./text.js";

const KEPT = "libra-token";
let asking = null;

/** Headers of a request: the token, if there is one. */
export function credentials() {
  const token = sessionStorage.getItem(KEPT);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Ask for name and password until the realm accepts them; once for all requests that wait. */
export function signIn() {
  asking ||= ask().finally(() => (asking = null));
  return asking;
}

function ask() {
  sessionStorage.removeItem(KEPT);
  const [name, password] = [field("username", "text"), field("password", "password")];
  const note = element("p", "note");
  const button = element("button", "main", "Sign in");
  const labels = [element("label", "", ["Name ", name]), element("label", "", ["Password ", password])];
  const form = element("form", "", [element("h2", "", "Sign in"), ...labels, note, button]);
  const dialog = element("dialog", "begin", [form]);
  note.hidden = true;
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((done) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const refused = await token(name.value, password.value);
      note.textContent = refused || "";
      note.hidden = !refused;
      if (refused) return;
      dialog.remove();
      done(true);
    });
  });
}

/** Get and keep a token; what went wrong, or null. */
async function token(username, password) {
  try {
    const body = new URLSearchParams({ username, password });
    const answer = await fetch(new URL("../../auth/token", import.meta.url), { method: "POST", body });
    if (!answer.ok) return "Not accepted. Check name and password, or ask who runs the realm.";
    sessionStorage.setItem(KEPT, (await answer.json()).access_token);
    return null;
  } catch {
    return "The server does not answer. Try again.";
  }
}

function field(name, type) {
  const node = element("input");
  Object.assign(node, { name, type, required: true, autocomplete: type === "password" ? "current-password" : "username" });
  return node;
}
