// SPDX-License-Identifier: Apache-2.0
// A radiograph on a canvas: zoom, pan and a window over the values the server sends (16 bits a pixel, 12 in most files).
// The screen has 8 bits, so every change of the window looks the pixels up again in the full values.

import { picture } from "./api.js";

const SIDE = 1024; // pixels asked for at first
const DETAIL = 4096; // and once the reader zooms beyond them
const MOST = 16; // largest zoom
const STEP = 60; // pixels a key moves the picture
const KEPT = 8; // pictures kept in memory

const kept = new Map();

/** A picture of a study, from memory if it was shown lately. */
async function load(id, side, signal) {
  const key = `${side} ${id}`;
  const found = kept.get(key) || (await picture(id, side, signal));
  kept.delete(key);
  kept.set(key, found);
  while (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return found;
}

export class Viewer {
  /**
   * @param figure  holds `canvas`, `.caption`, `.values` and `.absent`
   * @param linked  the other viewers that follow this one; called at every move
   */
  constructor(figure, linked = () => []) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.linked = linked;
    this.drawn = document.createElement("canvas");
    this.image = null;
    this.fit();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /**
   * Show a study's picture, or a sentence instead.
   * @param id       of the study; null shows `message`
   * @param caption  what stands above the picture
   */
  async show(id, caption, message = "") {
    if (this.asked) this.asked.abort();
    this.asked = new AbortController();
    this.id = id;
    this.image = null;
    this.detailed = false;
    this.inverted = false;
    this.say(caption, id === null ? message : "loading…");
    this.draw();
    if (id === null) return;
    try {
      const image = await load(id, SIDE, this.asked.signal);
      if (this.id === id) this.take(image, true);
    } catch (error) {
      if (error.name !== "AbortError" && this.id === id) this.say(caption, error.message);
    }
  }

  /** What stands above the picture, from parts; absent ones are left out. */
  name(parts) {
    const caption = parts.filter(Boolean).join(" · ");
    this.figure.querySelector(".caption").textContent = caption;
    this.canvas.setAttribute("aria-label", caption);
  }

  /** Words above and in place of the picture. */
  say(caption, message) {
    this.figure.querySelector(".caption").textContent = caption;
    const absent = this.figure.querySelector(".absent");
    absent.textContent = message;
    absent.hidden = !message;
    this.canvas.setAttribute("aria-label", `${caption}${message ? `: ${message}` : ""}`);
  }

  take(image, fresh) {
    this.image = image;
    this.figure.querySelector(".absent").hidden = true;
    if (fresh) this.resetWindow();
    this.lookUp();
    this.draw();
  }

  resetWindow() {
    if (!this.image) return;
    this.centre = (this.image.low + this.image.high) / 2;
    this.width = Math.max(1, this.image.high - this.image.low);
    this.inverted = false;
  }

  fit() {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5 }); // x, y: the point of the picture in the middle, from 0 to 1
  }

  /** Pixels of the window, as the screen shows them. */
  lookUp() {
    const { pixels, rows, columns, bits } = this.image;
    const table = new Uint32Array(1 << 16);
    const top = (1 << bits) - 1;
    const low = this.centre - this.width / 2;
    for (let value = 0; value < table.length; value++) {
      const share = Math.min(1, Math.max(0, (Math.min(value, top) - low) / this.width));
      const grey = Math.round(255 * (this.inverted ? 1 - share : share));
      table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    const shown = new ImageData(columns, rows);
    const out = new Uint32Array(shown.data.buffer);
    for (let place = 0; place < pixels.length; place++) out[place] = table[pixels[place]];
    Object.assign(this.drawn, { width: columns, height: rows });
    this.drawn.getContext("2d").putImageData(shown, 0, 0);
  }

  /** Screen pixels of the canvas for each pixel of the picture. */
  get scale() {
    const { rows, columns } = this.image;
    return this.zoom * Math.min(this.canvas.width / columns, this.canvas.height / rows);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.canvas.clientWidth * ratio), Math.round(this.canvas.clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const values = this.figure.querySelector(".values");
    values.textContent = "";
    if (!this.image || !width || !height) return;
    const scale = this.scale;
    const [w, h] = [this.image.columns * scale, this.image.rows * scale];
    context.imageSmoothingEnabled = scale < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.drawn, width / 2 - this.x * w, height / 2 - this.y * h, w, h);
    const [level, wide, zoom] = [this.centre, this.width, 100 * this.zoom].map(Math.round);
    values.textContent = `L ${level}  W ${wide} · ${zoom} %${this.inverted ? " · inverted" : ""}`;
  }

  /** This viewer and those that follow it. */
  all() {
    return [this, ...this.linked(this)];
  }

  /** Zoom by a factor about a point of the canvas (its middle where none is given). */
  zoomBy(factor, x = 0, y = 0) {
    for (const one of this.all()) {
      if (!one.image) continue;
      const zoom = Math.min(MOST, Math.max(1, one.zoom * factor));
      const step = one.scale * (zoom / one.zoom);
      one.x += (x / one.scale - x / step) / one.image.columns;
      one.y += (y / one.scale - y / step) / one.image.rows;
      one.zoom = zoom;
      one.hold();
      one.draw();
      one.wantDetail();
    }
  }

  /** Move the picture by pixels of the canvas. */
  panBy(right, down) {
    for (const one of this.all()) {
      if (!one.image) continue;
      one.x -= right / (one.image.columns * one.scale);
      one.y -= down / (one.image.rows * one.scale);
      one.hold();
      one.draw();
    }
  }

  /** Keep the middle of the canvas within the picture; at the smallest zoom the whole picture stands still. */
  hold() {
    const within = (value) => Math.min(1, Math.max(0, value));
    if (this.zoom === 1) this.fit();
    this.x = within(this.x);
    this.y = within(this.y);
  }

  /** Change level and width by shares of the width. */
  windowBy(level, width) {
    for (const one of this.all()) {
      if (!one.image) continue;
      const top = (1 << one.image.bits) - 1;
      one.centre = Math.min(top, Math.max(0, one.centre + level * one.width));
      one.width = Math.min(2 * top, Math.max(2, one.width * Math.exp(width)));
      one.redrawSoon();
    }
  }

  invert() {
    for (const one of this.all()) {
      one.inverted = !one.inverted;
      one.redrawSoon();
    }
  }

  reset() {
    for (const one of this.all()) {
      one.fit();
      one.resetWindow();
      one.redrawSoon();
    }
  }

  /** At most once a frame, since looking up a whole picture costs some milliseconds. */
  redrawSoon() {
    if (this.waiting || !this.image) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      if (!this.image) return;
      this.lookUp();
      this.draw();
    });
  }

  /** The whole picture instead of the small one, once the screen shows more than the small one has. */
  async wantDetail() {
    const { rows, columns } = this.image;
    if (this.detailed || this.scale < 1 || Math.max(rows, columns) < SIDE) return;
    this.detailed = true;
    const id = this.id;
    try {
      const image = await load(id, DETAIL, this.asked.signal);
      if (this.id === id && image.rows > rows) this.take(image, false);
    } catch {
      // the small picture stays
    }
  }

  listen() {
    let from = null;
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, pan: event.shiftKey || event.button !== 0 };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [right, down] = [event.clientX - from.x, event.clientY - from.y];
      Object.assign(from, { x: event.clientX, y: event.clientY });
      const ratio = window.devicePixelRatio || 1;
      if (from.pan) this.panBy(right * ratio, down * ratio);
      else this.windowBy(-down / 400, right / 300); // down lowers the level, which brightens
    });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => (from = null));
    this.canvas.addEventListener("dblclick", () => this.reset());
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  wheel(event) {
    event.preventDefault();
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    this.zoomBy(Math.exp(-event.deltaY / 500), x * ratio, y * ratio);
  }
}

/** The viewers of a page by name, `current` and `prior`; each moves the other. */
export function viewersOfPage() {
  const viewers = {};
  const others = (viewer) => Object.values(viewers).filter((one) => one !== viewer);
  for (const name of ["current", "prior"]) viewers[name] = new Viewer(document.getElementById(name), others);
  return viewers;
}

/**
 * Rows of the table of keys that move the pictures.
 * @param row     makes a row
 * @param viewer  gives the viewer that stands for the pair
 * @param invert  the letter that exchanges black and white
 */
export function viewingKeys(row, viewer, invert) {
  const moves = { up: [0, STEP], down: [0, -STEP], left: [STEP, 0], right: [-STEP, 0] };
  const pan = (name) => viewer().panBy(...moves[name.replace("shift+arrow", "")]);
  const change = (level, width) => () => viewer().windowBy(level, width);
  const arrows = Object.keys(moves).map((name) => `shift+arrow${name}`);
  return [
    row("Pictures", ["+", "="], "+", "zoom in", () => viewer().zoomBy(1.25), { bar: "zoom", both: "+ −" }),
    row("Pictures", ["-", "_"], "−", "zoom out", () => viewer().zoomBy(0.8)),
    row("Pictures", ["arrowup"], "↑", "brighter (level down)", change(-0.04, 0), { bar: "level", both: "↑ ↓" }),
    row("Pictures", ["arrowdown"], "↓", "darker (level up)", change(0.04, 0)),
    row("Pictures", ["arrowleft"], "←", "narrower window, more contrast", change(0, -0.06), { bar: "width", both: "← →" }),
    row("Pictures", ["arrowright"], "→", "wider window, less contrast", change(0, 0.06)),
    row("Pictures", arrows, "Shift ↑↓←→", "move", pan),
    row("Pictures", [invert], invert.toUpperCase(), "black and white exchanged", () => viewer().invert()),
    row("Pictures", ["f"], "F", "whole picture, its own window", () => viewer().reset(), { bar: "fit" }),
  ];
}
