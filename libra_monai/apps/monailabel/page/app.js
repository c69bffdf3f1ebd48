// SPDX-License-Identifier: Apache-2.0
// The page to read and correct drafts: puts list, pictures, report and keys together.

import { ask, upload } from "./api.js";
import { Keys, keepMarkInSight, toggleHelp } from "./keys.js";
import { say } from "./notice.js";
import { StoreBack } from "./store.js";
import { OpenStudy } from "./study.js";
import { copy, element, plainText, setMarks } from "./text.js";
import { viewersOfPage, viewingKeys } from "./viewer.js";
import { Worklist } from "./worklist.js";

const at = (id) => document.getElementById(id);

const viewers = viewersOfPage();
const worklist = new Worklist(at("worklist"), at("filter"), at("counts"), (id) => study.open(id));
const study = new OpenStudy(viewers, worklist, say);
const storeBack = new StoreBack(study, say);

/** Everything the server says at first; called again by the reader if the server was away. */
async function load() {
  try {
    const [told, marks] = await Promise.all([ask("GET", "worklist"), ask("GET", "change-words")]);
    setMarks(marks);
    at("mark").textContent = told.mark;
    at("model").textContent = `${told.model.name} ${told.model.version}${told.model.synthetic ? " · synthetic" : ""}`;
    choices("prompt", told.prompts);
    choices("decoding", told.decodings);
    at("readers").hidden = !(await ask("GET", "reader-study")).studies.length;
    storeBack.allow(told.stores_back);
    worklist.take(told.studies);
    if (study.id === null) worklist.step(0);
  } catch (error) {
    say(error.message, true);
  }
}

function choices(id, names) {
  const before = at(id).value;
  at(id).replaceChildren(...names.map((name) => element("option", "", name)));
  if (names.includes(before)) at(id).value = before;
  at(id).closest("label").hidden = names.length < 2;
}

async function openFiles(files) {
  if (!files.length) return;
  try {
    const { image } = await upload("uploads", files);
    worklist.add(await ask("GET", `studies/${encodeURIComponent(image)}`));
    await study.open(image);
  } catch (error) {
    say(`Not opened: ${error.message}`, true);
  }
}

async function copyText() {
  if (!study.draft) return say("There is nothing to copy yet. D writes a draft.");
  try {
    await copy(plainText(study.base || study.draft, study.text()));
    say("Copied as plain text, with the mark of the draft.");
  } catch (error) {
    say(`Not copied: ${error.message}`, true);
  }
}

function toggleDifference() {
  at("changes").hidden = !at("changes").hidden;
  at("difference").setAttribute("aria-pressed", String(!at("changes").hidden));
  study.showTally();
  at("changes").scrollIntoView({ block: "end" });
}

function toggleEvidence() {
  at("evidence").open = !at("evidence").open;
  at("evidence").scrollIntoView({ block: "nearest" });
}

function next() {
  if (!worklist.nextOpen()) say("All studies shown are corrected.");
}

function edit(name) {
  at(name).focus();
  at(name).setSelectionRange(at(name).value.length, at(name).value.length);
}

async function escape() {
  const active = document.activeElement;
  if (active && active.matches("textarea, input, select")) active.blur();
  else if (!(await study.cancel())) at("notice").hidden = true;
}

// keys move both pictures; one of them stands for the pair
const either = () => (viewers.current.image ? viewers.current : viewers.prior);
const row = (group, keys, shown, label, run, more = {}) => ({ group, keys, shown, label, run, ...more });

const keys = new Keys([
  row("Studies", ["j"], "J", "next study", () => worklist.step(1), { bar: "next, before", both: "J K" }),
  row("Studies", ["k"], "K", "study before", () => worklist.step(-1)),
  row("Studies", ["n"], "N", "next not corrected", next, { bar: true }),
  row("Studies", ["/"], "/", "filter the list", () => at("filter").focus()),
  row("Studies", ["o"], "O", "open files: current, or current and prior", () => at("files").click()),
  row("Studies", ["r"], "R", "load the list again", load),
  row("Draft", ["d"], "D", "draft, or draft again", () => study.redraft(), { bar: "draft" }),
  row("Draft", ["["], "[", "newer prior", () => study.stepPrior(-1)),
  row("Draft", ["]"], "]", "older prior, at the end none", () => study.stepPrior(1)),
  row("Draft", ["p"], "P", "choose the prior from the list", () => at("priors").focus(), { bar: "prior" }),
  row("Draft", ["0"], "0", "no prior", () => study.stepPrior(null), { bar: true }),
  row("Draft", ["v"], "V", "evidence of each sentence", toggleEvidence, { bar: "evidence" }),
  row("Report", ["e"], "E", "edit the findings", () => edit("findings"), { bar: "findings" }),
  row("Report", ["i"], "I", "edit the impression", () => edit("impression"), { bar: "impression" }),
  row("Report", ["ctrl+s", "ctrl+enter"], "Ctrl S", "save", () => study.save(), { bar: true, typing: true }),
  row("Report", ["x"], "X", "difference to the draft", toggleDifference, { bar: "difference" }),
  row("Report", ["u"], "U", "back to the draft's text", () => study.restore()),
  row("Report", ["c"], "C", "copy as plain text", copyText, { bar: "copy" }),
  row("Report", ["escape"], "Esc", "leave a field; cancel a draft", escape, { bar: "leave field", typing: true }),
  ...viewingKeys(row, either, "b"),
  row("Help", ["?"], "?", "all keys", () => toggleHelp(at("help")), { bar: true }),
]);

keepMarkInSight(at("mark"));
keys.fillBar(at("keys"));
keys.fillList(at("help-keys"));
at("help-button").addEventListener("click", () => toggleHelp(at("help")));
at("redraft").addEventListener("click", () => study.redraft());
at("cancel").addEventListener("click", () => study.cancel());
at("copy").addEventListener("click", copyText);
at("restore").addEventListener("click", () => study.restore());
at("difference").addEventListener("click", toggleDifference);
at("files").addEventListener("change", () => openFiles([...at("files").files]).finally(() => (at("files").value = "")));
document.querySelector("form.editing").addEventListener("submit", (event) => {
  event.preventDefault();
  study.save();
});
window.addEventListener("beforeunload", (event) => {
  if (study.edited() || study.waiting.size) event.preventDefault();
});

load();
