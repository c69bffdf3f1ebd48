// SPDX-License-Identifier: Apache-2.0
// Shows a draft: sections with change words and strength marked, warnings, and the numbers of evidence.

import { element, level, markChanges, markSentences } from "./text.js";

const SECTIONS = ["technique", "comparison", "findings", "impression"];
const WRITTEN = ["findings", "impression"]; // by the model; the others are written by code

/**
 * Nodes of a draft's sections and warnings.
 * @param draft  as the server gives it; null where there is none
 */
export function draftNodes(draft) {
  if (!draft) return [element("p", "soft", "No draft yet. D writes one.")];
  const present = SECTIONS.filter((name) => draft[name]);
  const nodes = present.map((name) => section(name, draft));
  if (!present.some((name) => WRITTEN.includes(name))) nodes.push(element("p", "note", "The model wrote nothing."));
  return [...nodes, ...(draft.warnings || []).map((warning) => element("p", "note", warning))];
}

function section(name, draft) {
  const written = WRITTEN.includes(name);
  const evidence = (draft.evidence || []).filter((one) => one.section === name);
  const body = element("p", "", written ? markSentences(draft[name], evidence) : draft[name]);
  return element("div", written ? "section" : "section fixed", [element("h3", "", name), body]);
}

/** The numbers behind each sentence; null where the draft has none. */
export function evidenceNodes(draft) {
  if (!draft || !draft.evidence || !draft.evidence.length) return null;
  const rows = draft.evidence.map((one) => {
    const numbers = [
      `${level(one.score)} ${one.score.toFixed(2)}`,
      `mean log-probability ${signed(one.mean_log_prob)}, lowest ${signed(one.min_log_prob)}`,
      `owed to the pictures ${signed(one.image_contrast)}, to the prior ${signed(one.prior_contrast)}`,
    ];
    return element("li", level(one.score), [element("p", "", markChanges(one.text)), element("p", "numbers", numbers.join(" · "))]);
  });
  return [element("ol", "", rows), element("p", "soft legend", draft.evidence_note || "")];
}

function signed(value) {
  if (value === null || value === undefined) return "–";
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** What the marks mean, as nodes. */
export function legendNodes(draft) {
  const nodes = [element("mark", "", "Marked words"), " claim a change since the prior."];
  if (draft && draft.evidence) {
    nodes.push(
      " Behind each sentence: how sure the model was, ",
      element("span", "sentence weak", "weak"), ", ", element("span", "sentence fair", "fair"),
      " or strong. A sure sentence can be wrong.",
    );
  }
  return nodes;
}
