// SPDX-License-Identifier: Apache-2.0
// One open study: its pictures, its priors, its drafts, and the reader's text. No text is kept in the browser after the
// page is closed; what is edited and not saved waits in memory, study by study.

import { ask } from "./api.js";
import { Clock } from "./clock.js";
import { draftNodes, evidenceNodes, legendNodes } from "./draft.js";
import { differenceNodes, element, joinedText, wordsChanged } from "./text.js";
import { gap, short, when } from "./worklist.js";

const POLL = 400; // milliseconds between two looks at a job
const NONE = ""; // value of "no prior" among the choices
const SECTIONS = ["findings", "impression"];
const at = (id) => document.getElementById(id);

export class OpenStudy {
  /**
   * @param viewers   `{current, prior}`
   * @param worklist  told of drafts and corrections
   * @param say       shows a sentence: `(text, failed)`
   */
  constructor(viewers, worklist, say) {
    Object.assign(this, { viewers, worklist, say, id: null, study: null, draft: null, base: null });
    this.waiting = new Map(); // study -> what the reader typed and did not save
    this.jobs = new Map(); // study -> {job, text, running, failed}
    this.clock = new Clock();
    this.shown = () => {}; // called when another draft is on screen, or none
    worklist.unsaved = (id) => (id === this.id ? this.edited() : this.waiting.has(id));
    for (const name of SECTIONS) at(name).addEventListener("input", () => this.typed());
    at("priors").addEventListener("change", () => this.choosePrior());
    setInterval(() => this.showClock(), 500);
    new ResizeObserver(() => SECTIONS.forEach((name) => grow(at(name)))).observe(document.querySelector(".sheet"));
  }

  /** Open a study by its id. */
  async open(id) {
    this.leave();
    this.id = id;
    this.study = this.draft = this.base = null;
    this.worklist.select(id);
    this.viewers.current.show(null, short(id), "loading…");
    this.viewers.prior.show(null, "", "");
    this.showDraft();
    this.put({});
    try {
      const study = await ask("GET", `studies/${encodeURIComponent(id)}`);
      if (this.id !== id) return; // the reader has gone on
      this.study = study;
      await this.begin(study);
    } catch (error) {
      if (this.id !== id) return;
      this.study = null; // what is not whole is neither edited nor saved
      this.viewers.current.show(null, short(id), error.message);
    }
  }

  async begin(study) {
    const view = study.view || "view not known";
    this.viewers.current.show(study.id, `CURRENT · ${when(study)} · ${view}`);
    this.draft = study.draft;
    this.fillPriors();
    this.choosePrior();
    const kept = this.waiting.get(study.id);
    this.waiting.delete(study.id);
    this.base = kept ? kept.base : await this.began(study);
    if (this.id !== study.id) return;
    this.put(study.corrected || study.draft || {});
    if (kept) for (const name of SECTIONS) at(name).value = kept.sections[name];
    this.typed();
    this.clock.start(kept ? kept.seconds : 0);
    this.showDraft();
    this.showSaved(study.corrected);
    this.showJob();
  }

  /** The draft that the saved text began from; that is an earlier one if the study was drafted again since. */
  async began(study) {
    const uid = study.corrected && study.corrected.draft;
    if (!uid || (study.draft && study.draft.uid === uid)) return study.draft;
    const { original } = await ask("GET", `reports/${encodeURIComponent(study.id)}`);
    return original.find((draft) => draft.uid === uid) || study.draft;
  }

  /** Keep what was typed and not saved. */
  leave() {
    if (this.id === null || !this.study) return;
    if (this.edited()) this.waiting.set(this.id, { sections: this.text(), base: this.base, seconds: this.clock.seconds });
    this.clock.pause();
  }

  // ---- priors

  fillPriors() {
    const { prior, priors } = this.study;
    const choices = priors.map((one) => {
      const about = [when(one), one.view, gap(one.gap_hours)].filter(Boolean).join(" · ");
      return option(one.id, `${about}${one.id === prior ? " (by the rule)" : ""}`);
    });
    at("priors").replaceChildren(...choices, option(NONE, `no prior${prior ? "" : " (by the rule)"}`));
    const used = this.draft ? this.used() : prior;
    at("priors").value = priors.some((one) => one.id === used) ? used : NONE;
  }

  /** The prior that the draft used, or null. */
  used() {
    return this.draft && this.draft.prior_used ? this.draft.prior_study_id : null;
  }

  /** Step through the choices; null chooses none. */
  stepPrior(by) {
    const box = at("priors");
    if (!this.study) return;
    box.selectedIndex = by === null ? box.length - 1 : Math.min(box.length - 1, Math.max(0, box.selectedIndex + by));
    this.choosePrior();
  }

  choosePrior() {
    const id = at("priors").value;
    document.querySelector(".pictures").classList.toggle("alone", !id);
    const chosen = this.study.priors.find((one) => one.id === id);
    if (this.viewers.prior.id !== (id || null) || !id) {
      const about = chosen ? [when(chosen), chosen.view, gap(chosen.gap_hours)].filter(Boolean).join(" · ") : "none";
      this.viewers.prior.show(id || null, `PRIOR · ${about}`, "no prior chosen");
    }
    this.showStale();
  }

  // ---- drafts

  /** Ask for a draft with the chosen prior, prompt and decoding. */
  async redraft() {
    if (!this.study) return this.say("The study is not loaded yet.");
    if (this.jobs.get(this.id)?.running) return;
    const [id, chosen] = [this.id, at("priors").value || null];
    const prior = chosen === this.study.prior ? "auto" : chosen;
    const asked = { image: id, prior, prompt: at("prompt").value, decoding: at("decoding").value };
    this.tell(id, { running: true, text: "asked for a draft" });
    try {
      const { job } = await ask("POST", "drafts", asked);
      this.tell(id, { job, running: true, text: "waiting" });
      await this.follow(id, job);
    } catch (error) {
      this.tell(id, { failed: true, text: error.message });
    }
  }

  async follow(id, job) {
    const began = performance.now();
    for (;;) {
      const told = await ask("GET", `drafts/${encodeURIComponent(job)}`);
      const seconds = Math.round((performance.now() - began) / 1000);
      if (told.state === "done") return this.arrived(id, told.draft);
      const waits = { queued: `number ${told.position} in the queue`, running: "writing" }[told.state];
      const failed = told.state !== "cancelled";
      if (!waits) return this.tell(id, { failed, text: told.error || told.state.replace("_", " ") });
      this.tell(id, { job, running: true, text: `${waits} · ${seconds} s` });
      await new Promise((done) => setTimeout(done, POLL));
    }
  }

  async cancel() {
    const job = this.jobs.get(this.id);
    if (!job?.running || !job.job) return false;
    await ask("DELETE", `drafts/${encodeURIComponent(job.job)}`).catch((error) => this.say(error.message, true));
    return true;
  }

  arrived(id, draft) {
    this.tell(id, { text: "" });
    this.worklist.mark(id, "drafted");
    if (id !== this.id) return;
    const edited = this.edited();
    this.draft = draft;
    if (edited) this.say("New draft. Your text is kept; U replaces it by the draft.");
    else this.restore();
    this.showDraft();
    this.showStale();
  }

  tell(id, job) {
    this.jobs.set(id, job);
    if (id === this.id) this.showJob();
  }

  showJob() {
    const job = this.jobs.get(this.id) || {};
    at("job").textContent = job.text || "";
    at("job").className = `job ${job.running ? "running" : ""} ${job.failed ? "failed" : ""}`;
    at("cancel").hidden = !(job.running && job.job);
    at("redraft").disabled = Boolean(job.running);
  }

  showDraft() {
    const draft = this.draft;
    at("draft-about").textContent = draft ? about(draft) : "";
    at("draft").replaceChildren(...draftNodes(draft));
    const evidence = evidenceNodes(draft);
    at("evidence").hidden = !evidence;
    at("evidence-list").replaceChildren(...(evidence || []));
    at("legend").hidden = !draft;
    at("legend").replaceChildren(...(draft ? legendNodes(draft) : []));
    at("copy").disabled = at("restore").disabled = !draft;
    this.shown();
    this.showTally();
  }

  /** Say so if the draft was written with another prior than the one on screen. */
  showStale() {
    const chosen = at("priors").value || null;
    const stale = Boolean(this.draft) && this.used() !== chosen;
    const used = this.study?.priors.find((one) => one.id === this.used());
    at("stale").hidden = !stale;
    at("stale").textContent = stale
      ? `This draft ${used ? `compares with ${when(used)}` : "used no prior"}, not what is on the left. D drafts again.`
      : "";
  }

  // ---- the reader's text

  text() {
    return Object.fromEntries(SECTIONS.map((name) => [name, at(name).value]));
  }

  put(sections) {
    for (const name of SECTIONS) at(name).value = sections[name] || "";
    this.asSaved = this.text();
    this.typed(false);
  }

  edited() {
    return this.study !== null && SECTIONS.some((name) => at(name).value !== this.asSaved[name]);
  }

  typed(refill = true) {
    SECTIONS.forEach((name) => grow(at(name)));
    this.showTally();
    const edited = this.edited();
    if (refill && edited !== this.wasEdited) this.worklist.fill();
    this.wasEdited = edited;
  }

  /** Put the draft's text in place of the reader's. */
  restore() {
    if (!this.draft) return;
    this.base = this.draft;
    this.put(this.draft);
    this.showTally();
    this.worklist.fill();
  }

  showTally() {
    const base = this.base;
    const changed = base ? wordsChanged(joinedText(base), joinedText(this.text())) : 0;
    at("tally").textContent = base ? (changed ? `${counted(changed)} from the draft` : "as drafted") : "";
    const box = at("changes");
    if (box.hidden) return;
    const parts = SECTIONS.filter((name) => base && (base[name] || at(name).value));
    const told = (name) => element("p", "", differenceNodes(base[name] || "", at(name).value));
    box.replaceChildren(...parts.map((name) => element("div", "section", [element("h3", "", name), told(name)])));
    if (!parts.length) box.replaceChildren(element("p", "soft", "There is no draft to compare with."));
  }

  showClock() {
    const seconds = Math.round(this.clock.seconds);
    at("clock").textContent = this.study ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "";
  }

  showSaved(report) {
    at("saved").textContent = report ? `saved as version ${report.version}` : "";
  }

  async save() {
    if (!this.study || this.saving) return;
    this.saving = true;
    const [id, sections] = [this.id, this.text()];
    const seconds = Math.round(this.clock.seconds * 10) / 10;
    const blank = Object.fromEntries(SECTIONS.map((name) => [name, sections[name].trim() ? sections[name] : null]));
    try {
      const kept = await ask("PUT", `reports/${encodeURIComponent(id)}`, { ...blank, draft: this.base?.uid ?? null, seconds });
      this.waiting.delete(id);
      if (this.id === id) this.asSaved = sections;
      this.wasEdited = false;
      this.worklist.mark(id, "corrected");
      if (this.id === id) this.showSaved(kept);
      const told = [`Saved as version ${kept.version}`, counted(kept.edit_distance.words), `${seconds} s`];
      this.say(`${told.join(" · ")}. N opens the next one.`);
    } catch (error) {
      this.say(`Not saved: ${error.message}`, true);
    } finally {
      this.saving = false;
    }
  }
}

/** What a draft is, in a line. */
function about(draft) {
  const took = draft.latencies ? `${draft.latencies.draft.toFixed(1)} s` : "";
  const prior = draft.prior_used ? "compared with a prior" : "no prior used";
  return [draft.model, prior, draft.decoding, took].filter(Boolean).join(" · ");
}

const counted = (words) => `${words} ${words === 1 ? "word" : "words"} changed`;

/** A text field as high as its text. */
export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function option(value, text) {
  const node = element("option", "", text);
  node.value = value;
  return node;
}
