// SPDX-License-Identifier: Apache-2.0
// The line in which a page says what happened.

let fading = null;

/** A sentence for some seconds; failures stay longer. */
export function say(text, failed = false) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.className = failed ? "notice failed" : "notice";
  notice.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (notice.hidden = true), failed ? 12_000 : 5_000);
}
