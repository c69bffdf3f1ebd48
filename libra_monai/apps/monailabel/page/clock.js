// SPDX-License-Identifier: Apache-2.0
// Seconds spent on a study: only while it is on screen. A page in the background does not count, nor does a reader who has
// gone away (no key, no pointer for two minutes).

const AWAY = 120_000; // milliseconds without input after which the reader counts as gone

export class Clock {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.before = 0;
    this.since = null;
    this.seen = now();
    for (const name of ["keydown", "pointermove", "pointerdown", "wheel"]) {
      document.addEventListener(name, () => this.input(), { capture: true, passive: true });
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.go()));
  }

  /** Begin a study, with the seconds it already has. */
  start(seconds = 0) {
    this.before = 1000 * seconds;
    this.since = null;
    this.go();
  }

  go() {
    this.seen = this.now();
    if (this.since === null && !document.hidden) this.since = this.now();
  }

  pause() {
    this.before = 1000 * this.seconds;
    this.since = null;
  }

  input() {
    if (this.now() - this.seen > AWAY) this.pause();
    this.go();
  }

  /** So far. */
  get seconds() {
    const running = this.since === null ? 0 : Math.max(0, Math.min(this.now(), this.seen + AWAY) - this.since);
    return (this.before + running) / 1000;
  }
}
