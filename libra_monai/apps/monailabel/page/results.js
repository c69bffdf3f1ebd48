// SPDX-License-Identifier: Apache-2.0
// Results of a reader study as tables, and the same numbers as CSV.

import { download } from "./api.js";
import { element } from "./text.js";

/** Nodes of what `reader-study/NAME/results` gives. */
export function resultNodes(told, name) {
  const systems = Object.keys(told.preferred).filter((one) => one !== "equal");
  const preferred = systems.map((one) => [one, told.preferred[one], share(told.preferred[one], told.answers)]);
  const errors = Object.keys(told.errors[systems[0]] || {}).map((kind) => [words(kind), ...systems.map((one) => told.errors[one][kind])]);
  const readers = told.readers.map((one) => [one.reader, one.answered, seconds(one.seconds_median), seconds(one.seconds_total)]);
  const kappas = told.agreement.map((one) => [words(one.measure), one.kind, one.readers, one.n, share(one.observed, 1), decimals(one.kappa)]);
  const nodes = [
    element("p", "soft", `${told.cases} cases, ${told.answers} answers.`),
    table("Preferred", ["", "answers", "share"], [...preferred, ["no difference", told.preferred.equal, share(told.preferred.equal, told.answers)]]),
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
  return element("section", "", [element("h3", "", title), element("table", "", [element("thead", "", [head]), element("tbody", "", body)])]);
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
