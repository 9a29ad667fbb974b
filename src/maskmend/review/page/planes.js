// The planes of one case: where one looks, what is loaded for it, and what is laid over.

import { box, say } from "./dom.js";
import { apply } from "./draw.js";
import { Slices } from "./slices.js";
import { axisOf, planeName, View } from "./view.js";

const MARK = 12; // CSS pixels

export class Planes {
  hidden = false; // outlines
  doubt = false;
  over = null; // the voxel under the mouse: {view, at: [row, col]}
  #way = 1; // of scrolling
  #here = ""; // the large plane that was asked for last
  #closed = false;

  /** page: the case's; its study, prefs, finding and waiting() are read, changed() is told of where one looks. */
  constructor(page) {
    const { study } = page, flat = study.shape[0] === 1, first = axisOf(study, 0);
    Object.assign(this, { page, study, flat, slices: new Slices(study.case) });
    this.at = study.shape.map((n) => Math.floor(n / 2)); // the voxel that one looks at
    const axes = flat ? [0] : [first, ...[0, 1, 2].filter((axis) => axis !== first)];
    this.views = axes.map((axis, i) => new View(study, axis, {
      shown: () => this.#shown(),
      slice: (steps) => this.scroll(this.views[i].axis, steps),
      point: flat ? null : (at) => this.#point(this.views[i], at),
      window: (wider, brighter) => this.#drag(wider, brighter),
      hover: (at) => this.#hover(this.views[i], at),
    }));
    [this.large, ...this.small] = this.views;
    this.large.extras.push((lines, matrix) => this.#brackets(lines, matrix));
    this.small.forEach((view) => view.extras.push((lines, matrix) => this.#crosshair(view, lines, matrix)));
    this.root = box("stage", this.large.root, box("small", this.small.map((view) => view.root)));
    this.setWindow(page.prefs.window, false);
  }

  close() {
    this.#closed = true;
    this.slices.drop();
    this.views.forEach((view) => view.close());
  }

  /** The voxel to look at: [z, y, x], or [y, x] in a picture. */
  look(voxel) {
    this.at = [...Array(3 - voxel.length).fill(0), ...voxel];
    this.refresh();
  }

  scroll(axis, steps) {
    const to = Math.min(this.study.shape[axis] - 1, Math.max(0, this.at[axis] + steps));
    if (to === this.at[axis]) return;
    this.#way = Math.sign(steps);
    this.at[axis] = to;
    this.refresh();
  }

  /** Shows `axis` large; the other planes stay small. */
  turn(axis) {
    if (axis === this.large.axis || this.flat) return;
    this.over = null;
    this.small.find((view) => view.axis === axis).setAxis(this.large.axis);
    this.large.setAxis(axis);
    this.refresh();
  }

  /** A preset of the channel by its name, or null: the whole range that the server found. */
  setWindow(name, show = true) {
    const { prefs } = this.page, channel = this.study.channels[prefs.channel];
    const preset = channel?.presets.find((entry) => entry.name === name);
    prefs.window = preset ? name : null;
    this.window = preset ?? channel ?? { low: 0, high: 1 };
    if (show) this.refresh();
  }

  /** Moves the window by shares of its width, as in any viewer: to the right wider, up brighter. */
  #drag(wider, brighter) {
    const { low, high } = this.window, width = high - low;
    const middle = (low + high) / 2 - brighter * width, half = (width * Math.exp(wider)) / 2;
    this.window = { low: middle - half, high: middle + half };
    this.refresh();
  }

  /** Labels have changed: they are asked for again. */
  renew() {
    this.slices.version++;
    this.refresh();
  }

  trace() {
    this.views.forEach((view) => view.trace());
  }

  /** Loads what is to be seen now, and then what will be next; ends requests for what no longer is. */
  refresh() {
    const { axis } = this.large, here = `${axis} ${this.at[axis]}`;
    if (here !== this.#here) this.large.leave();
    this.#here = here;
    const near = [0, 1, -1, 2, 3].map((steps) => this.at[axis] + steps * this.#way)
      .filter((index) => index >= 0 && index < this.study.shape[axis]).map((index) => this.#paths(axis, index));
    const wanted = [...near, ...this.small.map((view) => this.#paths(view.axis, this.at[view.axis]))];
    const paths = new Set(wanted.flatMap(Object.values));
    this.slices.drop((path) => paths.has(path));
    const [first] = this.views.map((view) => this.#load(view));
    first.then(() => !this.#closed && near.forEach((next) => this.#ask(next).catch(() => {})));
    this.page.changed();
  }

  #paths(axis, index) {
    const { low, high } = this.window, { slices, study } = this;
    return {
      image: study.image && slices.path("image", { axis, index, channel: this.page.prefs.channel, low, high }),
      labels: slices.path("labels", { axis, index }),
      doubt: this.doubt && slices.path("doubt", { axis, index }),
    };
  }

  #ask({ image, labels, doubt }) {
    const { slices } = this;
    return Promise.all([image && slices.get(image), slices.get(labels, slices.version), doubt && slices.get(doubt)]);
  }

  async #load(view) {
    const { axis } = view, index = this.at[axis], { version } = this.slices;
    const paths = JSON.stringify(this.#paths(axis, index));
    const stale = () => this.#closed || view.axis !== axis || this.slices.version !== version
      || JSON.stringify(this.#paths(axis, this.at[axis])) !== paths;
    try {
      const [image, labels, doubt] = await this.#ask(JSON.parse(paths));
      if (stale()) return;
      const n = view.rows * view.cols, [given, suggestion] = [0, n].map((i) => new Uint16Array(labels.bytes, 2 * i, n));
      const current = new Uint16Array(labels.bytes.slice(6 * n)); // a copy: it is drawn on
      for (const event of this.page.waiting("stroke")) {
        const here = event.axis === axis && event.index === index;
        if (here) apply(current, view.cols, event.runs, this.page.app.audit.ignore);
      }
      view.pen?.overlay(current);
      view.put({ index, image: image || null, labels: { given, suggestion, current }, doubt: doubt || null });
      const name = planeName(this.study, axis), last = this.study.shape[axis];
      view.lines.setAttribute("aria-label", `${name}, slice ${index + 1} of ${last}`);
    } catch (error) {
      if (error.name === "AbortError" || stale()) return;
      say(`Slice not loaded (${error.message}); trying again.`);
      setTimeout(() => stale() || this.#load(view), 2000);
    }
  }

  /** Uint32Array of the superpixels of the large plane, or null. */
  async superpixels() {
    const { axis } = this.large, query = { axis, index: this.at[axis], channel: this.page.prefs.channel };
    try {
      const found = await this.slices.get(this.slices.path("superpixels", query));
      if (found) return new Uint32Array(found.bytes);
      say("There are no superpixels without an image.");
    } catch (error) {
      say(`No superpixels (${error.message}).`);
    }
    return null;
  }

  #shown() {
    if (this.hidden) return new Set();
    const { mode } = this.page.prefs, shown = mode === "both" ? ["given", "suggestion", "current"] : [mode];
    return new Set(this.large.pen ? [...shown, "current"] : shown);
  }

  #point(view, at) {
    if (!view.inside(at)) return;
    [this.at[view.rowAxis], this.at[view.colAxis]] = at.map(Math.floor);
    this.refresh();
  }

  #hover(view, at) {
    this.over = at && { view, at: at.map(Math.floor) };
    this.page.hovered();
  }

  #crosshair(view, lines, matrix) {
    const path = new Path2D(), r = this.at[view.rowAxis] + 0.5, c = this.at[view.colAxis] + 0.5;
    path.moveTo(c, 0), path.lineTo(c, view.rows);
    path.moveTo(0, r), path.lineTo(view.cols, r);
    view.line(lines, path, matrix, "rgb(240 228 66 / 60%)", 1);
  }

  /** Corners around the finding in hand, on the slices that it reaches. */
  #brackets(lines, matrix) {
    const part = this.page.finding?.box, view = this.large, index = this.at[view.axis];
    if (!part || this.hidden || view.pen || index < part[view.axis][0] || index >= part[view.axis][1]) return;
    const ends = [0, 1].map((k) => matrix.transformPoint({ x: part[view.colAxis][k], y: part[view.rowAxis][k] }));
    const path = new Path2D(), sorted = (a, b) => [Math.min(a, b) - 8, Math.max(a, b) + 8];
    const [xs, ys] = [sorted(ends[0].x, ends[1].x), sorted(ends[0].y, ends[1].y)];
    for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
      path.moveTo(xs[i] + (i ? -MARK : MARK), ys[j]);
      path.lineTo(xs[i], ys[j]), path.lineTo(xs[i], ys[j] + (j ? -MARK : MARK));
    }
    view.line(lines, path, new DOMMatrix(), "#ffffff", 1.5);
  }
}
