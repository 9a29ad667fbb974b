// One plane on the screen: the picture and, above it, outlines. Flips and turns are of the view only: what lies under
// the pointer is told in voxels of the plane as it is stored.

import { el } from "./dom.js";
import { outline } from "./grid.js";

export const COLOURS = { given: "#E69F00", suggestion: "#56B4E9", current: "#009E73" }; // Okabe–Ito
const UPRIGHT = ["SI", "AP", "LR"]; // of two axes, the first named here runs down the screen
const NAMES = ["Axial", "Coronal", "Sagittal"];

const upright = (letters) => UPRIGHT.findIndex((pair) => letters[0] && pair.includes(letters[0]));
/** "Axial", "Coronal", "Sagittal", or "Picture" where the axes have no letters. */
export const planeName = ({ letters, shape }, axis) =>
  NAMES[upright(letters[axis])] ?? (shape[0] === 1 ? "Picture" : `Plane ${axis + 1}`);
/** The axis that key 1, 2 or 3 looks along. */
export const axisOf = (study, plane) => {
  const named = study.letters.findIndex((letters) => upright(letters) === plane);
  return named < 0 ? plane : named;
};

export class View {
  zoom = 1;
  pan = [0, 0];
  data = null; // what is shown: {index, image, labels, doubt}
  stale = true; // it is not yet what should be shown
  extras = []; // functions that draw on the outlines' canvas
  pen = null;
  #asked = 0;
  #drawn = false;

  /** handlers: shown() -> Set of layers, slice(steps), point([row, col]) or null, window(wider, brighter),
   *  hover([row, col] or null). */
  constructor(study, axis, handlers) {
    this.study = study;
    this.handlers = handlers;
    this.picture = el("canvas", { className: "picture" });
    this.lines = el("canvas", { className: "lines", role: "img" });
    this.root = el("div", { className: "view" }, this.picture, this.lines);
    this.native = document.createElement("canvas");
    this.setAxis(axis);
    this.#listen();
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.root);
  }

  setAxis(axis) {
    const { study } = this;
    const [r, c] = [0, 1, 2].filter((other) => other !== axis);
    const turned = upright(study.letters[c]) >= 0 && upright(study.letters[c]) < upright(study.letters[r]);
    Object.assign(this, { axis, turned, rowAxis: r, colAxis: c, data: null });
    [this.grid, this.step] = [study.shape, study.spacing_mm].map((of) => [of[r], of[c]]);
    [this.rows, this.cols] = this.grid;
    [this.downAxis, this.acrossAxis] = turned ? [c, r] : [r, c];
    this.fit();
  }

  fit() {
    Object.assign(this, { zoom: 1, pan: [0, 0] });
    this.draw();
  }

  /** Brings a box ([from, to] along rows and columns) to the middle, and to half of the view. */
  zoomTo([[r0, r1], [c0, c1]]) {
    this.fit();
    const whole = this.#matrix(), [w, h] = [this.root.clientWidth, this.root.clientHeight];
    const [a, b] = [whole.transformPoint({ x: c0, y: r0 }), whole.transformPoint({ x: c1, y: r1 })];
    this.zoom = Math.min(16, Math.max(1, 0.5 * Math.min(w / Math.abs(a.x - b.x), h / Math.abs(a.y - b.y))));
    if (this.zoom > 1) this.pan = [(w / 2 - (a.x + b.x) / 2) * this.zoom, (h / 2 - (a.y + b.y) / 2) * this.zoom];
  }

  /** From (column, row) of the plane to (x, y) in CSS pixels. */
  #matrix() {
    const { study, downAxis, acrossAxis } = this;
    const [w, h] = [this.root.clientWidth, this.root.clientHeight];
    const size = [acrossAxis, downAxis].map((axis) => study.shape[axis] * study.spacing_mm[axis]);
    const scale = Math.min(w / size[0], h / size[1]) * this.zoom;
    const [sx, sy] = [acrossAxis, downAxis].map((axis) => scale * study.spacing_mm[axis] * (study.flip[axis] ? -1 : 1));
    const [ox, oy] = [w, h].map((long, i) => (long - size[i] * scale) / 2 + this.pan[i]);
    const e = ox + (sx < 0 ? size[0] * scale : 0), f = oy + (sy < 0 ? size[1] * scale : 0);
    return this.turned ? new DOMMatrix([0, sy, sx, 0, e, f]) : new DOMMatrix([sx, 0, 0, sy, e, f]);
  }

  /** [row, col] under a mouse event, not rounded. */
  at(event) {
    const edge = this.root.getBoundingClientRect(), on = { x: event.clientX - edge.left, y: event.clientY - edge.top };
    const { x, y } = this.#matrix().inverse().transformPoint(on);
    return [y, x];
  }

  inside([r, c]) {
    return r >= 0 && c >= 0 && r < this.rows && c < this.cols;
  }

  /** Shows what was loaded: image {bytes, bands} or null, labels by name, doubt {bytes} or null. */
  put(data) {
    Object.assign(this, { data, stale: false });
    const { rows, cols, native } = this, { image, doubt } = data;
    native.width = cols;
    native.height = rows;
    const pixels = new ImageData(cols, rows);
    const grey = image && new Uint8Array(image.bytes), risk = doubt && new Uint8Array(doubt.bytes);
    for (let i = 0, bands = image?.bands ?? 1, p = 0; i < rows * cols; i++, p += 4) {
      const hot = risk ? risk[i] / 255 : 0; // doubt is laid over in vermillion
      for (let k = 0; k < 3; k++) {
        const value = grey ? grey[i * bands + (bands === 3 ? k : 0)] : 0;
        pixels.data[p + k] = value * (1 - 0.8 * hot) + 0.8 * hot * [213, 94, 0][k];
      }
      pixels.data[p + 3] = 255;
    }
    native.getContext("2d").putImageData(pixels, 0, 0);
    this.trace();
  }

  /** Another slice is on its way: what is not finished on this one is dropped, and nothing is begun. */
  leave() {
    this.stale = true;
    this.pen?.cancel();
  }

  /** Outlines anew, after labels or what is to be shown changed. Beside the given label only what departs from it is
   *  drawn; under the pen the whole of what will be saved. */
  trace() {
    if (!this.data) return;
    this.paths = new Map([...this.handlers.shown()].map((layer) => [layer, this.#path(layer)]));
    this.draw();
  }

  #path(layer) {
    const { labels } = this.data, alone = !this.handlers.shown().has("given");
    const whole = alone || layer === "given" || (layer === "current" && this.pen);
    return outline(labels[layer], this.rows, this.cols, whole ? null : labels.given);
  }

  /** The pen has moved: its outline follows, once a frame. */
  drawn() {
    this.#drawn = true;
    this.draw();
  }

  draw() {
    this.#asked ||= requestAnimationFrame(() => {
      this.#asked = 0;
      if (this.root.isConnected) this.#paint();
    });
  }

  #paint() {
    const dpr = devicePixelRatio, [w, h] = [this.root.clientWidth, this.root.clientHeight];
    for (const canvas of [this.picture, this.lines]) {
      canvas.width = Math.round(w * dpr); // clears it
      canvas.height = Math.round(h * dpr);
    }
    const picture = this.picture.getContext("2d"), lines = this.lines.getContext("2d");
    if (!this.data || !w || !h) return;
    if (this.#drawn) {
      this.pen?.overlay(this.data.labels.current);
      this.paths.set("current", this.#path("current"));
      this.#drawn = false;
    }
    const matrix = this.#matrix(), sharp = new DOMMatrix([dpr, 0, 0, dpr, 0, 0]);
    picture.imageSmoothingEnabled = false;
    picture.setTransform(sharp.multiply(matrix));
    picture.drawImage(this.native, 0, 0);
    lines.setTransform(sharp);
    for (const [layer, path] of this.paths) {
      const width = layer === "current" ? 2.5 : 1.75, dash = layer === "suggestion" ? [6, 4] : [];
      this.line(lines, path, matrix, COLOURS[layer], width, dash);
    }
    for (const extra of this.extras) extra(lines, matrix);
    this.pen?.preview(lines, matrix);
    this.#letters(lines, w, h);
  }

  /** A line, placed by `matrix`, with a dark rim, to be seen on bright tissue too. */
  line(lines, path, matrix, colour, width, dash = []) {
    const placed = new Path2D();
    placed.addPath(path, matrix);
    lines.setLineDash(dash);
    for (const [style, wide] of [["rgb(0 0 0 / 55%)", width + 1.5], [colour, width]]) {
      lines.strokeStyle = style;
      lines.lineWidth = wide;
      lines.stroke(placed);
    }
    lines.setLineDash([]);
  }

  #letters(lines, w, h) {
    lines.font = "600 15px system-ui, sans-serif";
    lines.textAlign = "center";
    lines.textBaseline = "middle";
    const write = (axis, spots) => {
      const pair = this.study.letters[axis];
      spots.forEach(([x, y], last) => {
        const letter = pair[this.study.flip[axis] ? 1 - last : last];
        lines.strokeStyle = "#000";
        lines.lineWidth = 3;
        lines.strokeText(letter, x, y);
        lines.fillStyle = "#d8d8d8";
        lines.fillText(letter, x, y);
      });
    };
    write(this.acrossAxis, [[12, h / 2], [w - 12, h / 2]]);
    write(this.downAxis, [[w / 2, 13], [w / 2, h - 13]]);
  }

  zoomBy(factor, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    const zoom = Math.min(32, Math.max(1, this.zoom * factor)), grown = zoom / this.zoom;
    const middle = [this.root.clientWidth / 2, this.root.clientHeight / 2];
    this.pan = [x, y].map((at, i) => at - middle[i] - (at - middle[i] - this.pan[i]) * grown);
    if (zoom === 1) this.pan = [0, 0];
    this.zoom = zoom;
    this.draw();
  }

  panBy(dx, dy) {
    this.pan = [this.pan[0] + dx, this.pan[1] + dy];
    this.draw();
  }

  #listen() {
    const { lines, handlers } = this;
    let turned = 0, drag = null;
    lines.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) return this.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.offsetX, event.offsetY);
      turned += event.deltaY * (event.deltaMode ? 40 : 1);
      if (Math.abs(turned) < 40) return;
      handlers.slice(Math.sign(turned));
      turned = 0;
    }, { passive: false });
    lines.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      document.activeElement?.blur?.();
      lines.setPointerCapture(event.pointerId);
      const left = this.pen ? "pen" : handlers.point ? "point" : "pan";
      drag = [left, "pan", "window"][event.button];
      if (drag === "pen") this.pen.down(event);
      if (drag === "point") handlers.point(this.at(event));
    });
    lines.addEventListener("pointermove", (event) => {
      const at = this.at(event);
      handlers.hover?.(this.inside(at) ? at : null);
      if (drag === "pan") this.panBy(event.movementX, event.movementY);
      else if (drag === "window") handlers.window(event.movementX / 300, -event.movementY / 300);
      else if (drag === "point") handlers.point(at);
      else this.pen?.move(event);
    });
    const end = (event) => {
      if (drag === "pen") this.pen?.up(event);
      drag = null;
    };
    lines.addEventListener("pointerup", end);
    lines.addEventListener("pointercancel", end);
    lines.addEventListener("pointerleave", () => (handlers.hover?.(null), this.pen?.leave()));
    for (const menu of ["auxclick", "contextmenu"]) lines.addEventListener(menu, (event) => event.preventDefault());
  }

  close() {
    this.watch.disconnect();
  }
}
