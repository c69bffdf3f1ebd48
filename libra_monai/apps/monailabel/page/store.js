// SPDX-License-Identifier: Apache-2.0
// The draft on screen back to the archive, after a question: what is sent, and that nobody has reviewed it.

import { ask } from "./api.js";

const at = (id) => document.getElementById(id);

export class StoreBack {
  /**
   * @param study  the open study
   * @param say    shows a sentence: `(text, failed)`
   */
  constructor(study, say) {
    Object.assign(this, { study, say, allowed: false });
    at("store").addEventListener("click", () => this.question());
    at("storing").addEventListener("close", () => at("storing").returnValue === "store" && this.store(...this.asked));
    study.shown = () => this.show();
  }

  /** Whether the server stores drafts: its studies are an archive's, and it was started so. */
  allow(allowed) {
    this.allowed = allowed;
    this.show();
  }

  /** The button is there for a draft of a study of the archive. */
  show() {
    const { id, draft } = this.study;
    at("store").hidden = !(this.allowed && draft && !id.startsWith("upload-"));
  }

  question() {
    const { id, draft, study } = this.study;
    this.asked = [id, draft.uid]; // what was on screen when the reader agreed
    at("storing-text").hidden = !(study?.corrected || this.study.edited());
    at("storing").returnValue = "";
    at("storing").showModal();
  }

  async store(id, uid) {
    at("store").disabled = true;
    try {
      const told = await ask("POST", `stored/${encodeURIComponent(id)}?draft=${encodeURIComponent(uid)}`);
      const replaced = told.supersedes.length ? " It names the draft whose place it takes." : "";
      this.say(told.stored ? `Stored in the archive as an automatic draft, not reviewed.${replaced}` : "The archive has this draft already.");
    } catch (error) {
      this.say(`Not stored: ${error.message}`, true);
    } finally {
      at("store").disabled = false;
    }
  }
}
