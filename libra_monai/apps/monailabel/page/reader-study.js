// SPDX-License-Identifier: Apache-2.0
// A blinded reader study: two drafts beside the pictures; which is preferred, what is wrong with each, how long it took.
// The page never learns which system wrote a draft; the server turns sides into systems.

import { ask } from "./api.js";
import { Clock } from "./clock.js";
import { Keys, keepMarkInSight, toggleHelp } from "./keys.js";
import { say } from "./notice.js";
import { resultNodes } from "./results.js";
import { element, markChanges, setMarks } from "./text.js";
import { viewersOfPage, viewingKeys } from "./viewer.js";
import { gap, when } from "./worklist.js";

const at = (id) => document.getElementById(id);
const SIDES = ["left", "right"];
const SECTIONS = ["technique", "comparison", "findings", "impression"];
const one = (side) => document.querySelector(`.one[data-side=${side}]`);

const viewers = viewersOfPage();
const clock = new Clock();
const state = { name: "", reader: "", cases: [], errors: [], place: 0, preference: null };

/** Ask which study and who reads, unless the address says so. */
async function begin() {
  try {
    setMarks(await ask("GET", "change-words"));
    const { studies } = await ask("GET", "reader-study");
    at("name").replaceChildren(...studies.map((name) => element("option", "", name)));
    const told = new URLSearchParams(location.search);
    if (studies.includes(told.get("study"))) at("name").value = told.get("study");
    at("reader").value = told.get("reader") || "";
    if (told.get("study") && told.get("reader") && (await load(told.get("study"), told.get("reader")))) return;
    if (!studies.length) warn("There is no reader study on this server. `libra-monai reader-study make` makes one.");
    at("begin").showModal();
  } catch (error) {
    say(error.message, true);
  }
}

function warn(text) {
  at("begin-note").textContent = text;
  at("begin-note").hidden = !text;
}

async function load(name, reader) {
  warn("");
  let told;
  try {
    told = await ask("GET", `reader-study/${encodeURIComponent(name)}?reader=${encodeURIComponent(reader)}`);
  } catch (error) {
    warn(error.message);
    return false;
  }
  Object.assign(state, { name, reader, cases: told.cases, errors: told.errors });
  at("mark").textContent = told.mark;
  at("about").textContent = `${told.name} · ${reader}`;
  history.replaceState(null, "", `?study=${encodeURIComponent(name)}&reader=${encodeURIComponent(reader)}`);
  at("begin").close();
  fillErrors();
  const open = state.cases.findIndex((one) => !one.answer);
  show(open < 0 ? 0 : open);
  if (open < 0) await finish();
  return true;
}

function fillErrors() {
  for (const side of SIDES) {
    const boxes = state.errors.map((name, place) => {
      const box = element("input");
      Object.assign(box, { type: "checkbox", value: name, tabIndex: 0 });
      return element("label", "", [box, element("kbd", "", String(place + 1)), element("span", "", name.replace("_", " "))]);
    });
    one(side).querySelector(".errors").replaceChildren(...boxes);
  }
}

function show(place) {
  state.place = place;
  const shown = state.cases[place];
  showPictures(shown);
  for (const side of SIDES) {
    one(side).querySelector(".words").replaceChildren(...words(shown.drafts[side]));
    one(side).querySelector(".words").scrollTop = 0;
    const marked = shown.answer ? shown.answer.errors[side] : [];
    one(side).querySelectorAll("input").forEach((box) => (box.checked = marked.includes(box.value)));
  }
  at("comment").value = (shown.answer && shown.answer.comment) || "";
  prefer(shown.answer ? shown.answer.preference : null);
  const answered = state.cases.filter((one) => one.answer).length;
  Object.assign(at("progress"), { value: answered, max: state.cases.length });
  at("place").textContent = `case ${place + 1} of ${state.cases.length} · ${answered} answered`;
  document.activeElement?.blur?.();
  clock.start();
}

/** The pictures, at once; when they were taken follows. */
async function showPictures(shown) {
  viewers.current.show(shown.image, "CURRENT", "no picture");
  viewers.prior.show(shown.prior, "PRIOR", "no prior");
  if (!shown.image) return;
  try {
    const study = await ask("GET", `studies/${encodeURIComponent(shown.image)}`);
    if (state.cases[state.place] !== shown) return; // the reader has gone on
    const prior = study.priors.find((one) => one.id === shown.prior);
    viewers.current.name(["CURRENT", when(study), study.view]);
    if (prior) viewers.prior.name(["PRIOR", when(prior), prior.view, gap(prior.gap_hours)]);
  } catch {
    // the viewer itself says what is wrong with a picture
  }
}

function words(draft) {
  const present = SECTIONS.filter((name) => draft[name]);
  if (!present.length) return [element("p", "note", "(empty)")];
  return present.map((name) => {
    const written = name === "findings" || name === "impression";
    const body = element("p", "", written ? markChanges(draft[name]) : draft[name]);
    return element("div", written ? "section" : "section fixed", [element("h3", "", name), body]);
  });
}

function prefer(choice) {
  state.preference = choice;
  document.querySelectorAll("[data-choice]").forEach((button) => {
    button.setAttribute("aria-checked", String(button.dataset.choice === choice));
  });
  for (const side of SIDES) one(side).classList.toggle("preferred", side === choice);
  at("save").disabled = choice === null;
}

function toggleError(side, place) {
  const box = one(side).querySelectorAll("input")[place];
  if (box) box.checked = !box.checked;
}

async function save() {
  const shown = state.cases[state.place];
  if (!shown) return;
  if (state.preference === null) return say("Say which draft you prefer first: A, B, or E for no difference.");
  const marked = (side) => [...one(side).querySelectorAll("input:checked")].map((box) => box.value);
  const given = {
    reader: state.reader, preference: state.preference, seconds: Math.round(clock.seconds * 10) / 10,
    errors: { left: marked("left"), right: marked("right") }, comment: at("comment").value.trim() || null,
  };
  if (state.saving) return;
  state.saving = at("save").disabled = true;
  try {
    const address = `reader-study/${encodeURIComponent(state.name)}/answers/${encodeURIComponent(shown.case)}`;
    const told = await ask("PUT", address, given);
    shown.answer = told.answer;
    const order = [...state.cases.keys()].map((step) => (state.place + 1 + step) % state.cases.length);
    const next = order.find((place) => !state.cases[place].answer);
    show(next === undefined ? state.place : next);
    if (next === undefined) await finish();
  } catch (error) {
    say(`Not saved: ${error.message}`, true);
    at("save").disabled = false;
  } finally {
    state.saving = false;
  }
}

/** Results name the systems: the server gives them once everyone who began has finished. */
async function finish() {
  clock.pause();
  try {
    const told = await ask("GET", `reader-study/${encodeURIComponent(state.name)}/results`);
    at("results").replaceChildren(...resultNodes(told, state.name));
  } catch (error) {
    at("results").replaceChildren(element("p", "soft", `Thank you. ${error.message}`));
  }
  if (!at("done").open) at("done").showModal();
}

const step = (by) => {
  const place = state.place + by;
  if (place >= 0 && place < state.cases.length) show(place);
};
const row = (group, keys, shown, label, run, more = {}) => ({ group, keys, shown, label, run, ...more });
const digits = [1, 2, 3, 4, 5, 6];
const errorInB = (name) => toggleError("right", Number(name.slice(-1)) - 1);
const keys = new Keys([
  row("Verdict", ["a"], "A", "prefer draft A", () => prefer("left"), { bar: true }),
  row("Verdict", ["b"], "B", "prefer draft B", () => prefer("right"), { bar: true }),
  row("Verdict", ["e"], "E", "no difference", () => prefer("equal"), { bar: true }),
  row("Verdict", digits.map(String), "1 … 6", "errors in A", (name) => toggleError("left", Number(name) - 1), { bar: true }),
  row("Verdict", digits.map((digit) => `shift+${digit}`), "Shift 1 … 6", "errors in B", errorInB, { bar: true }),
  row("Verdict", ["m"], "M", "comment", () => at("comment").focus(), { bar: true }),
  row("Verdict", ["enter", "ctrl+enter"], "Enter", "save, next case", save, { bar: true, typing: true }),
  row("Cases", ["j"], "J", "next case", () => step(1), { bar: "next, before", both: "J K" }),
  row("Cases", ["k"], "K", "case before", () => step(-1)),
  row("Cases", ["escape"], "Esc", "leave the comment", () => document.activeElement?.blur(), { typing: true }),
  ...viewingKeys(row, () => (viewers.current.image ? viewers.current : viewers.prior), "x"),
  row("Help", ["?"], "?", "all keys", () => toggleHelp(at("help")), { bar: true }),
]);

keepMarkInSight(at("mark"));
keys.fillBar(at("keys"));
keys.fillList(at("help-keys"));
at("help-button").addEventListener("click", () => toggleHelp(at("help")));
document.querySelectorAll("[data-choice]").forEach((button) => {
  button.addEventListener("click", () => prefer(button.dataset.choice));
});
at("verdict").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
at("begin").addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it yet
at("begin-form").addEventListener("submit", (event) => {
  event.preventDefault();
  load(at("name").value, at("reader").value.trim());
});
setInterval(() => {
  const seconds = Math.round(clock.seconds);
  at("clock").textContent = state.cases.length ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "";
}, 500);

begin();
