// SPDX-License-Identifier: Apache-2.0
// The list of studies: what is new, drafted, corrected or edited and not saved; by word and sign, never by colour alone.

import { element } from "./text.js";

const SIGNS = { new: "○", drafted: "◐", corrected: "●", unsaved: "✎" };

/** Date and time of a study as a reader writes them. */
export function when(study) {
  const date = study.date ? String(study.date).replace(/^(\d{4})-?(\d{2})-?(\d{2}).*$/, "$1-$2-$3") : "date not known";
  const time = study.time ? ` ${String(study.time).replace(/^(\d{2}):?(\d{2}).*$/, "$1:$2")}` : "";
  return date + time;
}

/** A gap in words: hours below two days, else days. */
export function gap(hours) {
  if (hours === null || hours === undefined) return "";
  return hours < 48 ? `${Math.round(hours)} hours before` : `${Math.round(hours / 24)} days before`;
}

/** An identifier that fits into a line: the ends of a long one tell more than its middle. */
export function short(id) {
  return id.length > 24 ? `${id.slice(0, 10)}…${id.slice(-9)}` : id;
}

export class Worklist {
  /**
   * @param list    the ordered list
   * @param filter  the field that narrows it
   * @param counts  where the numbers stand
   * @param open    called with the id of a chosen study
   */
  constructor(list, filter, counts, open) {
    Object.assign(this, { list, filter, counts, open, studies: [], uploaded: [], current: null, unsaved: () => false });
    filter.addEventListener("input", () => this.fill());
    filter.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (this.shown.length) this.open(this.shown[0].id);
      filter.blur();
    });
  }

  /** Take the studies of the server; those uploaded stay at the top while the page is open. */
  take(studies) {
    const listed = new Set(studies.map((study) => study.id));
    this.uploaded = this.uploaded.filter((study) => !listed.has(study.id));
    this.studies = [...this.uploaded, ...studies];
    this.fill();
  }

  /** Put an uploaded study, which the server does not list, at the top. */
  add(study) {
    const state = study.corrected ? "corrected" : study.draft ? "drafted" : "new";
    this.uploaded = [{ ...study, state }, ...this.uploaded];
    this.take(this.studies.filter((one) => !this.uploaded.some((other) => other.id === one.id)));
  }

  get shown() {
    const wanted = this.filter.value.trim().toLowerCase();
    const told = (study) => `${study.id} ${when(study)} ${study.view} ${study.state}`.toLowerCase();
    return this.studies.filter((study) => told(study).includes(wanted));
  }

  fill() {
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...this.shown.map((study) => element("li", "", [this.row(study)])));
    const count = (state) => this.studies.filter((study) => study.state === state).length;
    const hidden = this.studies.length - this.shown.length;
    this.counts.textContent =
      `${this.studies.length} studies: ${count("corrected")} corrected, ${count("drafted")} drafted, ${count("new")} new` +
      (hidden ? `; ${hidden} not shown` : "");
    const current = this.list.querySelector("[aria-current=true]");
    current?.scrollIntoView({ block: "nearest" });
    if (focused) current?.focus(); // rows are new
  }

  row(study) {
    const state = this.unsaved(study.id) ? "unsaved" : study.state;
    const sign = element("span", `state ${state}`, SIGNS[state] || SIGNS.new);
    sign.setAttribute("aria-hidden", "true");
    const about = `${state} · ${study.view || "view ?"} · ${study.prior ? "prior" : "no prior"}`;
    const title = element("span", "title", study.date ? when(study) : short(study.id));
    const lines = [element("span", "about", about), element("span", "about id", short(study.id))];
    const row = element("button", "", [sign, title, ...lines]);
    row.type = "button";
    row.title = study.id;
    row.tabIndex = study.id === this.current ? 0 : -1;
    if (study.id === this.current) row.setAttribute("aria-current", "true");
    row.addEventListener("click", () => this.open(study.id));
    return row;
  }

  /** Mark a study as the one that is open. */
  select(id) {
    this.current = id;
    this.fill();
  }

  /** The study was drafted or corrected. */
  mark(id, state) {
    const study = this.studies.find((one) => one.id === id);
    if (study && !(study.state === "corrected" && state === "drafted")) study.state = state;
    this.fill();
  }

  /** Open the study that many places further; those filtered out are passed over. */
  step(by) {
    const place = this.shown.findIndex((study) => study.id === this.current);
    const next = this.shown[place < 0 ? 0 : place + by];
    if (next) this.open(next.id);
  }

  /** Open the next study that is not corrected yet, from here on and then from the top; false if all are. */
  nextOpen() {
    const place = this.shown.findIndex((study) => study.id === this.current);
    const order = [...this.shown.slice(place + 1), ...this.shown.slice(0, place + 1)];
    const next = order.find((study) => study.state !== "corrected");
    if (next) this.open(next.id);
    return Boolean(next);
  }
}
