// The pen: what the mouse does on a plane becomes marked voxels, at once on the screen and, as runs, in the journal.

import { COLOURS } from "./view.js";
import { fillPolygon, flood, runsOf, stamp } from "./grid.js";

export const TOOLS = [ // tool, its key, its name, what it does
  ["brush", "b", "Brush", "brush"],
  ["eraser", "e", "Eraser", "eraser"],
  ["polygon", "g", "Polygon", "polygon: click or drag, Enter closes it"],
  ["superpixel", "s", "Superpixel", "superpixel: a click takes one whole"],
  ["fill", "f", "Fill", "fill the part under the click"],
];
const NOBODY = 65535; // a voxel that nobody annotated, in a plane of labels

/** Writes runs into a plane of labels. */
export function apply(label, cols, runs, ignore) {
  for (const [row, from, to, value] of runs) {
    label.fill(value === ignore ? NOBODY : value, row * cols + from, row * cols + to);
  }
}

export class Pen {
  mask = null; // voxels under the stroke that is being drawn
  points = []; // corners of the polygon that is being drawn
  #last = null;
  #over = null;

  /** setting: {tool, brush, value}, read at each use. superpixels() -> Promise of Uint32Array or null.
   *  stroke(runs, tool) is called at the end of each. */
  constructor(view, setting, ignore, superpixels, stroke) {
    Object.assign(this, { view, setting, ignore, superpixels, stroke });
  }

  get value() {
    return this.setting.tool === "eraser" ? 0 : this.setting.value;
  }

  /** Whether the tool is drawn with: a brush, and no click. */
  get #wide() {
    return ["brush", "eraser"].includes(this.setting.tool);
  }

  down(event) {
    if (this.view.stale) return;
    const at = this.view.at(event), { tool } = this.setting;
    if (tool === "polygon") {
      if (this.points.length > 2 && (event.detail > 1 || this.#near(event, this.points[0]))) return this.finish();
      this.points.push(at);
      return this.view.draw();
    }
    if (!this.#wide && !this.view.inside(at)) return;
    this.mask = new Uint8Array(this.view.rows * this.view.cols);
    this.#last = at;
    if (this.#wide) this.#mark(at);
    else this.#click(tool, at.map(Math.floor));
  }

  move(event) {
    this.#over = event;
    if (this.mask && this.#wide) {
      for (const part of event.getCoalescedEvents?.() ?? [event]) this.#mark(this.view.at(part));
    } else if (this.setting.tool === "polygon" && event.buttons & 1 && this.points.length) {
      if (!this.#near(event, this.points.at(-1))) this.points.push(this.view.at(event));
    }
    this.view.draw();
  }

  up() {
    if (this.mask && this.#wide) this.#end();
  }

  leave() {
    this.#over = null;
    this.view.draw();
  }

  /** Closes the polygon. */
  finish() {
    if (this.points.length < 3) return;
    this.mask = new Uint8Array(this.view.rows * this.view.cols);
    fillPolygon(this.mask, this.view.grid, this.points);
    this.points = [];
    this.#end();
  }

  /** Forgets what is not saved yet; whether there was anything. */
  cancel() {
    const open = this.points.length > 0 || this.mask !== null;
    this.points = [];
    this.mask = null;
    return open;
  }

  /** The stroke under the pen, over a plane of labels that has just been loaded. */
  overlay(label) {
    if (this.mask) apply(label, this.view.cols, this.#runs(), this.ignore);
  }

  /** Whether a corner lies within 8 CSS pixels of the mouse. */
  #near({ clientX, clientY }, corner) {
    const at = this.view.at({ clientX, clientY }), off = this.view.at({ clientX: clientX + 8, clientY: clientY + 8 });
    return at.every((place, i) => Math.abs(place - corner[i]) < Math.abs(off[i] - place));
  }

  #runs() {
    return runsOf(this.mask, this.view.grid, this.value);
  }

  #mark(at) {
    const { step, grid } = this.view;
    stamp(this.mask, grid, this.#last, at, (this.setting.brush / 2) * Math.min(...step), step);
    this.#last = at;
    this.view.drawn();
  }

  async #click(tool, at) {
    const { mask, view } = this;
    if (tool === "fill") flood(mask, view.grid, view.data.labels.current, at);
    else {
      const parts = await this.superpixels();
      if (mask !== this.mask) return; // the slice was left meanwhile
      if (!parts) return this.cancel();
      const chosen = parts[at[0] * view.cols + at[1]];
      parts.forEach((part, i) => (mask[i] = part === chosen));
    }
    this.#end();
  }

  #end() {
    const runs = this.#runs();
    this.overlay(this.view.data.labels.current);
    this.mask = null;
    this.view.drawn();
    if (runs.length) this.stroke(runs, this.setting.tool);
  }

  /** The ring of the brush, or the polygon so far. */
  preview(lines, matrix) {
    const path = new Path2D(), { view } = this, over = this.#over && view.at(this.#over);
    if (this.points.length) {
      for (const [r, c] of over ? [...this.points, over] : this.points) path.lineTo(c, r);
      path.closePath();
    } else if (over && this.#wide) {
      const radius = (this.setting.brush / 2) * Math.min(...view.step);
      path.ellipse(over[1], over[0], radius / view.step[1], radius / view.step[0], 0, 0, 2 * Math.PI);
    }
    view.line(lines, path, matrix, this.value ? COLOURS.current : "#ffffff", 1.25);
  }
}
