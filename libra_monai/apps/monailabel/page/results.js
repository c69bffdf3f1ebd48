// SPDX-License-Identifier: Apache-2.0
// Results of a reader study as tables, and the same numbers as CSV.

import { download } from "./api.js";
import { element } from "./text.js";

/** Nodes of what `reader-study/NAME/results` gives. */
export function resultNodes(told, name) {
  const systems = Object.keys(told.preferred).filter((one) => one !== "equal");
  const counted = (name, label) => [label, told.preferred[name], share(told.preferred[name], told.answers)];
  const preferred = [...systems.map((one) => counted(one, one)), counted("equal", "no difference")];
  const kinds = Object.keys(told.errors[systems[0]] || {});
  const errors = kinds.map((kind) => [words(kind), ...systems.map((one) => told.errors[one][kind])]);
  const readers = told.readers.map((one) => [one.reader, one.answered, seconds(one.seconds_median), seconds(one.seconds_total)]);
  const kappas = told.agreement.map((one) => {
    return [words(one.measure), one.kind, one.readers, one.n, share(one.observed, 1), decimals(one.kappa)];
  });
  const nodes = [
    element("p", "soft", `${told.cases} cases, ${told.answers} answers.`),
    table("Preferred", ["", "answers", "share"], preferred),
    table("Errors", ["", ...systems], errors),
    table("Readers", ["", "cases", "seconds a case (median)", "seconds in all"], readers),
  ];
  if (kappas.length) nodes.push(table("Agreement", ["", "kappa of", "readers", "n", "alike", "kappa"], kappas, 3));
  return [...nodes, element("p", "links", [csv(name, "answers.csv"), " ", csv(name, "agreement.csv")])];
}

function table(title, columns, rows, numbersFrom = 1) {
  const cell = (tag, text, place) => element(tag, place >= numbersFrom ? "number" : "", String(text));
  const head = element("tr", "", columns.map((text, place) => cell("th", text, place)));
  const body = rows.map((row) => element("tr", "", row.map((text, place) => cell("td", text, place))));
  const whole = element("table", "", [element("thead", "", [head]), element("tbody", "", body)]);
  return element("section", "", [element("h3", "", title), whole]);
}

function csv(name, file) {
  const node = element("button", "", file);
  node.type = "button";
  node.addEventListener("click", () => download(`reader-study/${encodeURIComponent(name)}/${file}`, `${name}-${file}`));
  return node;
}

const words = (name) => name.replace("_", " ");
const share = (part, whole) => (part === null || !whole ? "–" : `${Math.round((100 * part) / whole)} %`);
const seconds = (value) => (value === null ? "–" : `${value.toFixed(1)} s`);
const decimals = (value) => (value === null ? "–" : value.toFixed(3));
