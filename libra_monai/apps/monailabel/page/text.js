// SPDX-License-Identifier: Apache-2.0
// Report texts as nodes. A report may contain markup, so text enters the page through textContent only.
// Marks are those of the HTML page of a draft: change words, and behind each sentence how sure the model was.

/** An element with a class and, where given, text or children. */
export function element(tag, className, content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (typeof content === "string") node.textContent = content;
  else if (content) node.append(...content);
  return node;
}

/** Lowest score of each word; the server tells them, see `setLevels`. */
let levels = [];
let changes = null;

/** Take over what is marked, from `change-words`: the pattern of phrases that claim a change, and the words of scores. */
export function setMarks(marks) {
  levels = marks.levels;
  changes = new RegExp(marks.pattern, "gi");
}

/** The word for a score. */
export function level(score) {
  const found = levels.find((one) => score >= one.from);
  return found ? found.word : "weak";
}

/** Nodes of a text with phrases of change in `<mark>`. */
export function markChanges(text) {
  const nodes = [];
  let place = 0;
  for (const found of changes ? text.matchAll(changes) : []) {
    const phrase = found[0].trimEnd();
    nodes.push(document.createTextNode(text.slice(place, found.index)), element("mark", "", phrase));
    place = found.index + phrase.length;
  }
  nodes.push(document.createTextNode(text.slice(place)));
  return nodes.filter((node) => node.textContent);
}

/**
 * Nodes of a section with its sentences' strength.
 * @param text      the section
 * @param evidence  of that section's sentences, in order; `start` and `end` count letters, not UTF-16 units
 */
export function markSentences(text, evidence) {
  const letters = Array.from(text || "");
  const cut = (start, end) => letters.slice(start, end).join("");
  const nodes = [];
  let place = 0;
  for (const one of evidence) {
    const word = level(one.score);
    const tag = element("span", `strength ${word}`, `${word} ${one.score.toFixed(2)}`);
    tag.title = "how sure the model was; a sure sentence can be wrong";
    nodes.push(...markChanges(cut(place, one.start)));
    nodes.push(element("span", `sentence ${word}`, markChanges(cut(one.start, one.end))), document.createTextNode(" "), tag);
    place = one.end;
  }
  return [...nodes, ...markChanges(cut(place, letters.length))];
}

/** Words and the white space between them. */
export function words(text) {
  return text.match(/\s+|[^\s]+/g) || [];
}

/**
 * Word difference: `[{kind: "same" | "removed" | "added", text}]`, shortest by words. White space counts as a word, so that
 * the pieces that are not "added" join to `before`, and those not "removed" to `after`.
 */
export function difference(before, after) {
  const [a, b] = [words(before), words(after)];
  let [head, tail] = [0, 0];
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const middle = pieces(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const all = [...a.slice(0, head).map(same), ...middle, ...a.slice(a.length - tail).map(same)];
  return joined(all);
}

const same = (text) => ({ kind: "same", text });

/** By the longest common subsequence; tables of reports are small once equal ends are gone. */
function pieces(a, b) {
  const table = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push(same(a[i]));
      i++, j++;
    } else if (j === b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) {
      found.push({ kind: "removed", text: a[i++] });
    } else {
      found.push({ kind: "added", text: b[j++] });
    }
  }
  return found;
}

/** Neighbours of one kind as one piece; within a run of changes what is removed stands first. */
function joined(all) {
  const result = [];
  let run = { removed: "", added: "" };
  const close = () => {
    for (const kind of ["removed", "added"]) if (run[kind]) result.push({ kind, text: run[kind] });
    run = { removed: "", added: "" };
  };
  all.forEach((piece, place) => {
    // a lone space between two changes belongs to both, else "a b" to "c d" would read as four changes
    const next = all[place + 1];
    const bridge = piece.kind === "same" && !piece.text.trim() && (run.removed || run.added) && next && next.kind !== "same";
    if (bridge) {
      run.removed += piece.text;
      run.added += piece.text;
    } else if (piece.kind !== "same") {
      run[piece.kind] += piece.text;
    } else {
      close();
      const last = result[result.length - 1];
      if (last && last.kind === "same") last.text += piece.text;
      else result.push({ ...piece });
    }
  });
  close();
  return result;
}

/** Nodes of a difference; read aloud, too, what is removed and what is added. */
export function differenceNodes(before, after) {
  return difference(before, after).map((piece) => {
    if (piece.kind === "same") return document.createTextNode(piece.text);
    return element(piece.kind === "removed" ? "del" : "ins", "", piece.text);
  });
}

/** Findings and impression as one text, as the server counts them. */
export function joinedText(sections) {
  return [sections.findings, sections.impression].filter(Boolean).join("\n");
}

/** Fewest words put in, taken out or replaced (Levenshtein): the number the server keeps with a correction. */
export function wordsChanged(before, after) {
  const [a, b] = [before, after].map((text) => text.split(/\s+/).filter(Boolean));
  let row = b.map((_, place) => place + 1);
  row.unshift(0);
  a.forEach((word, number) => {
    const next = [number + 1];
    b.forEach((other, place) => {
      next.push(Math.min(row[place + 1] + 1, next[place] + 1, row[place] + (word === other ? 0 : 1)));
    });
    row = next;
  });
  return row[b.length];
}

/**
 * A report as plain text; the draft's mark stands first.
 * @param draft     what the server gave
 * @param sections  `{findings, impression}` as they stand in the page
 */
export function plainText(draft, sections) {
  const lines = [...draft.marks];
  const edited = ["findings", "impression"].some((name) => (draft[name] || "") !== (sections[name] || ""));
  if (edited) lines.push("Edited by a reader after drafting; not signed.");
  lines.push("");
  for (const name of ["technique", "comparison", "findings", "impression"]) {
    const text = name in sections ? sections[name] : draft[name];
    if (text && text.trim()) lines.push(`${name.toUpperCase()}:`, text.trim(), "");
  }
  return lines.join("\n").trimEnd() + "\n";
}

/** Put text on the clipboard, also where the browser allows that only by a selection (plain http elsewhere). */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // not allowed: the way by a selection may be
    }
  }
  const area = element("textarea", "offscreen");
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before) before.focus();
  if (!done) throw new Error("the browser does not allow copying. Select the text and copy it by hand.");
}
