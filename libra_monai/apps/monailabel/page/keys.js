// SPDX-License-Identifier: Apache-2.0
// One table of keys: what they do, the bar that shows them, and the full list. Nothing is bound that is not listed.

import { element } from "./text.js";

const TYPING = "textarea, input:not([type=checkbox]):not([type=radio]), select";

export class Keys {
  /**
   * @param table  `[{group, keys, shown, label, run, bar, typing}]`: `keys` as `event.key` in lower case, with "ctrl+" or
   *   "shift+" before it; `bar`: also in the bar below; `typing`: also while a text field has the focus
   */
  constructor(table) {
    this.table = table;
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  pressed(event) {
    if (event.isComposing || event.altKey) return;
    const name = keyName(event);
    const typing = event.target instanceof Element && event.target.matches(TYPING);
    const dialog = document.querySelector("dialog[open]");
    if (dialog && name !== "?") return; // a dialog has its own keys
    if ((name === "enter" || name === " ") && event.target instanceof Element && event.target.matches("button, summary, a")) return;
    const entry = this.table.find((one) => one.keys.includes(name) && (!typing || one.typing));
    if (!entry) return;
    event.preventDefault();
    entry.run(name);
  }

  /** Show the most used keys. */
  fillBar(bar) {
    bar.replaceChildren(...this.table.filter((one) => one.bar).map((one) => hint(one, one.bar === true ? one.label : one.bar)));
  }

  /** Show all keys, by group. */
  fillList(list) {
    const groups = [...new Set(this.table.map((one) => one.group))];
    list.replaceChildren(
      ...groups.map((group) => {
        const rows = this.table.filter((one) => one.group === group).map((one) => hint(one, one.label));
        return element("section", "", [element("h3", "", group), ...rows]);
      }),
    );
  }
}

function keyName(event) {
  const name = event.key.toLowerCase();
  const letter = event.key.length === 1;
  const shift = event.shiftKey && (!letter || name === " ") ? "shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${shift}${name}`;
}

function hint(entry, label) {
  const caps = entry.shown.split(" ").map((cap) => element("kbd", "", cap));
  return element("span", "key", [...caps, element("span", "", label)]);
}

/** Open or close the list of keys. */
export function toggleHelp(dialog) {
  if (dialog.open) dialog.close();
  else dialog.showModal();
}
