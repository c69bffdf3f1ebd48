// SPDX-License-Identifier: Apache-2.0
// One table of keys: what they do, the bar that shows them, and the full list. Nothing is bound that is not listed.

import { element } from "./text.js";

const TYPING = "textarea, input:not([type=checkbox]):not([type=radio]), select";

export class Keys {
  /**
   * @param table  `[{group, keys, shown, label, run, bar, typing}]`: `keys` as `event.key` in lower case, with "ctrl+" or
   *   "shift+" before it; `bar`: also in the bar below, `both`: there with its counterpart;
   *   `typing`: also while a text field has the focus
   */
  constructor(table) {
    this.table = table;
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  pressed(event) {
    if (event.isComposing || event.altKey) return;
    const names = keyNames(event);
    const typing = event.target instanceof Element && event.target.matches(TYPING);
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !names.includes("?")) return; // a dialog has its own keys
    const presses = event.target instanceof Element && event.target.matches("button, summary, a");
    if (presses && ["Enter", " "].includes(event.key)) return;
    for (const name of names) {
      const entry = this.table.find((one) => one.keys.includes(name) && (!typing || one.typing));
      if (!entry) continue;
      event.preventDefault();
      entry.run(name);
      return;
    }
  }

  /** Show the most used keys. */
  fillBar(bar) {
    const shown = this.table.filter((one) => one.bar);
    bar.replaceChildren(...shown.map((one) => hint(one.both || one.shown, one.bar === true ? one.label : one.bar)));
  }

  /** Show all keys, by group. */
  fillList(list) {
    const groups = [...new Set(this.table.map((one) => one.group))];
    list.replaceChildren(
      ...groups.map((group) => {
        const rows = this.table.filter((one) => one.group === group).map((one) => hint(one.shown, one.label));
        return element("section", "", [element("h3", "", group), ...rows]);
      }),
    );
  }
}

/** What a key is called: digits first by their place, since Shift and keyboards change their sign; else by its sign. */
function keyNames(event) {
  const name = event.key.toLowerCase();
  const control = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey ? "shift+" : "";
  const names = /^Digit\d$/.test(event.code) ? [`${control}${shift}${event.code.slice(5)}`] : [];
  return [...names, `${control}${event.key.length > 1 ? shift : ""}${name}`];
}

function hint(shown, label) {
  const caps = shown.split(" ").map((cap) => element("kbd", "", cap));
  return element("span", "key", [...caps, element("span", "", label)]);
}

/** Open or close the list of keys. */
export function toggleHelp(dialog) {
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

/** Dialogs darken the page below the mark, never the mark: tell the style sheet how high it is. */
export function keepMarkInSight(mark) {
  const measure = () => document.documentElement.style.setProperty("--mark-height", `${mark.offsetHeight}px`);
  new ResizeObserver(measure).observe(mark);
}
