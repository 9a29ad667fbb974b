// One case: its planes, where one looks, the finding in hand, and what is said and drawn.

import { dialog, el, say } from "./dom.js";
import { apply, Pen, TOOLS } from "./draw.js";
import { caseAt, getJson } from "./net.js";
import { Panel } from "./panel.js";
import { Slices } from "./slices.js";
import { axisOf, planeName, View } from "./view.js";

const MODES = ["both", "given", "suggestion"];
const SAID = { accepted: "Accepted", refused: "Refused: the label stays", unsure: "Unsure", redrawn: "Redrawn" };
const CHANGES = new Set(["stroke", "undo", "redo", "verdict"]); // of the labels

export class CasePage {
  hidden = false; // outlines
  doubt = false;
  finding = null;
  over = null; // the voxel under the mouse, [z, y, x]
  #strokes = 0; // since drawing began
  #since = performance.now();
  #way = 1; // of scrolling
  #closed = false;

  constructor(app, study) {
    Object.assign(this, { app, study, name: study.case, prefs: app.prefs, slices: new Slices(study.case) });
    this.at = study.shape.map((n) => Math.floor(n / 2));
    this.prefs.channel = Math.min(this.prefs.channel, Math.max(0, study.channels.length - 1));
    this.takeWindow(this.prefs.window);
    const axis = axisOf(study, 0), flat = study.shape[0] === 1;
    const axes = flat ? [0] : [axis, ...[0, 1, 2].filter((other) => other !== axis)];
    this.views = axes.map((a, i) => new View(study, a, this.#handlers(i, flat)));
    [this.large] = this.views;
    this.views.forEach((view, i) => view.extras.push((lines, matrix) => (i ? this.#crosshair(view, lines, matrix) : this.#brackets(lines, matrix))));
    this.panel = new Panel(this);
    this.root = el("div", { className: flat ? "case flat" : "case" }, this.panel.bar,
      el("div", { className: "stage" }, this.large.root, el("div", { className: "small" }, this.views.slice(1).map((view) => view.root))),
      this.panel.foot, this.panel.side);
    if (!app.audit.readonly && !study.done) app.outbox.put(this.name, { do: "open" });
    this.select(this.findings.find((finding) => !finding.verdict) ?? this.findings[0] ?? null);
  }

  static async open(app, name) {
    return new CasePage(app, await getJson(caseAt(name)));
  }

  /** The most telling first. */
  get findings() {
    return [...this.study.findings].sort((a, b) => b.confidence * b.voxels - a.confidence * a.voxels);
  }

  get drawing() {
    return this.large.pen !== null;
  }

  get unseen() {
    return this.study.findings.filter((finding) => !finding.verdict).length;
  }

  close() {
    this.#closed = true;
    this.slices.drop();
    this.views.forEach((view) => view.close());
  }

  // --- looking ---

  #handlers(i, flat) {
    return {
      shown: () => this.#shown(),
      slice: (steps) => this.scroll(this.views[i].axis, steps),
      point: flat ? null : (at) => this.#point(this.views[i], at),
      hover: (at) => {
        this.over = at && { view: this.views[i], at: at.map(Math.floor) };
        this.panel.readout();
      },
    };
  }

  #shown() {
    if (this.hidden) return new Set();
    const shown = this.prefs.mode === "both" ? ["given", "suggestion", "current"] : [this.prefs.mode];
    return new Set(this.drawing ? [...shown, "current"] : shown);
  }

  #point(view, at) {
    if (!view.inside(at)) return;
    [this.at[view.rowAxis], this.at[view.colAxis]] = at.map(Math.floor);
    this.refresh();
  }

  scroll(axis, steps) {
    const to = Math.min(this.study.shape[axis] - 1, Math.max(0, this.at[axis] + steps));
    if (to === this.at[axis]) return;
    this.#way = Math.sign(steps);
    if (axis === this.large.axis) this.large.pen?.cancel();
    this.at[axis] = to;
    this.refresh();
  }

  /** Shows `axis` large; the other planes stay small. */
  turn(axis) {
    if (axis === this.large.axis || this.study.shape[0] === 1) return;
    this.large.pen?.cancel();
    this.views.find((view) => view.axis === axis).setAxis(this.large.axis);
    this.large.setAxis(axis);
    this.refresh();
  }

  takeWindow(name) {
    const channel = this.study.channels[this.prefs.channel];
    const preset = channel?.presets.find((entry) => entry.name === name);
    this.prefs.window = preset ? name : null;
    this.window = preset ?? channel ?? { low: 0, high: 1 };
  }

  #paths(axis, index) {
    const { low, high } = this.window, { slices, study } = this;
    return {
      image: study.image && slices.path("image", { axis, index, channel: this.prefs.channel, low, high }),
      labels: slices.path("labels", { axis, index }),
      doubt: this.doubt && slices.path("doubt", { axis, index }),
    };
  }

  /** Loads what is to be seen now, and then what will be next; ends requests for what no longer is. */
  refresh() {
    const near = [0, 1, -1, 2, 3].map((d) => this.at[this.large.axis] + d * this.#way)
      .filter((index) => index >= 0 && index < this.study.shape[this.large.axis]).map((index) => this.#paths(this.large.axis, index));
    const wanted = [...near, ...this.views.slice(1).map((view) => this.#paths(view.axis, this.at[view.axis]))];
    const paths = new Set(wanted.flatMap(Object.values));
    this.slices.drop((path) => paths.has(path));
    const loads = this.views.map((view) => this.#load(view));
    loads[0].then(() => !this.#closed && near.forEach((next) => this.#ask(next).catch(() => {})));
    this.panel.render();
  }

  #ask({ image, labels, doubt }) {
    return Promise.all([image && this.slices.get(image), this.slices.get(labels, this.slices.version), doubt && this.slices.get(doubt)]);
  }

  async #load(view) {
    const { axis } = view, index = this.at[axis], { version } = this.slices, paths = this.#paths(axis, index);
    const stale = () => this.#closed || view.axis !== axis || this.at[axis] !== index || this.slices.version !== version;
    let found;
    try {
      found = await this.#ask(paths);
    } catch (error) {
      if (error.name === "AbortError" || stale()) return;
      say(`Slice not loaded (${error.message}); trying again.`);
      setTimeout(() => stale() || this.#load(view), 2000);
      return;
    }
    const [image, labels, doubt] = found;
    if (stale() || paths.image !== this.#paths(axis, index).image) return;
    const n = view.rows * view.cols, [given, suggestion, findings] = [0, 1, 2].map((k) => new Uint16Array(labels.bytes, 2 * k * n, n));
    const current = new Uint16Array(labels.bytes.slice(6 * n));
    for (const { name, event } of this.app.outbox.waiting) {
      if (name === this.name && event.do === "stroke" && event.axis === axis && event.index === index) apply(current, view.cols, event.runs, this.app.audit.ignore);
    }
    view.pen?.overlay(current);
    view.put(image || null, { given, suggestion, findings, current }, doubt || null);
    view.lines.setAttribute("aria-label", `${planeName(this.study, axis)}, slice ${index + 1} of ${this.study.shape[axis]}`);
    this.panel.readout();
  }

  #crosshair(view, lines, matrix) {
    const path = new Path2D(), moved = new Path2D(), r = this.at[view.rowAxis] + 0.5, c = this.at[view.colAxis] + 0.5;
    for (const [x0, y0, x1, y1] of [[c, 0, c, view.rows], [0, r, view.cols, r]]) path.moveTo(x0, y0), path.lineTo(x1, y1);
    moved.addPath(path, matrix);
    lines.lineWidth = 1;
    lines.strokeStyle = "rgb(240 228 66 / 60%)";
    lines.stroke(moved);
  }

  /** Corners around the finding in hand, on the slices that it reaches. */
  #brackets(lines, matrix) {
    const box = this.finding?.box, view = this.large;
    if (!box || this.hidden || this.drawing) return;
    const [from, to] = box[view.axis];
    if (this.at[view.axis] < from || this.at[view.axis] >= to) return;
    const corners = [0, 1].map((k) => matrix.transformPoint({ x: box[view.colAxis][k], y: box[view.rowAxis][k] }));
    const [x0, x1] = corners.map((p) => p.x).sort((a, b) => a - b), [y0, y1] = corners.map((p) => p.y).sort((a, b) => a - b);
    const path = new Path2D(), gap = 8, long = 12;
    for (const [x, y, dx, dy] of [[x0 - gap, y0 - gap, long, long], [x1 + gap, y0 - gap, -long, long], [x0 - gap, y1 + gap, long, -long], [x1 + gap, y1 + gap, -long, -long]]) {
      path.moveTo(x + dx, y), path.lineTo(x, y), path.lineTo(x, y + dy);
    }
    view.line(lines, path, "#ffffff", 1.5);
  }

  // --- saying ---

  select(finding) {
    this.finding = finding;
    this.#since = performance.now();
    if (finding?.slice) this.at = [...Array(3 - finding.slice.length).fill(0), ...finding.slice];
    this.refresh();
  }

  step(by) {
    const all = this.findings, i = all.indexOf(this.finding);
    if (all.length) this.select(all[(i + by + all.length) % all.length]);
  }

  verdict(verdict) {
    const { finding } = this;
    if (!finding) return say("There is no finding to judge here.");
    const seconds = Math.round((performance.now() - this.#since) / 100) / 10;
    if (!this.#put({ do: "verdict", finding: finding.id, verdict, seconds, shown: finding.hidden ? "given" : this.prefs.mode, comment: finding.comment ?? "" })) return;
    finding.verdict = verdict;
    const all = this.findings, i = all.indexOf(finding);
    const next = [...all.slice(i + 1), ...all.slice(0, i)].find((other) => !other.verdict);
    say(`${SAID[verdict]}. ${next ? `${this.unseen} to go.` : "All findings seen."}`);
    if (next) this.select(next);
    else this.panel.render();
  }

  #put(event) {
    if (this.app.audit.readonly) return say("Read only: nothing can be changed here."), false;
    this.app.outbox.put(this.name, event);
    return true;
  }

  /** The server has written an event and tells how the case stands. */
  saved(event, study) {
    this.#take(study);
    if (CHANGES.has(event.do)) {
      this.slices.version++;
      this.refresh();
    }
    if (event.do === "done") this.app.nextCase(1, true);
  }

  /** The server will not write an event: show what is true. */
  async refused() {
    this.#take(await getJson(caseAt(this.name)));
    this.slices.version++;
    this.refresh();
  }

  #take(study) {
    this.study = study;
    for (const { name, event } of this.app.outbox.waiting) {
      if (name === this.name && event.do === "verdict") study.findings.find((finding) => finding.id === event.finding).verdict = event.verdict;
    }
    this.finding = study.findings.find((finding) => finding.id === this.finding?.id) ?? null;
    this.panel.render();
  }

  // --- drawing ---

  tool(tool) {
    this.prefs.tool = tool;
    this.large.pen?.cancel();
    if (!this.drawing) this.draw();
    this.panel.render();
    this.large.draw();
  }

  draw() {
    if (this.app.audit.readonly) return say("Read only: nothing can be changed here.");
    if (this.drawing) return this.stopDrawing();
    this.#strokes = 0;
    const { prefs, large } = this, { ignore } = this.app.audit;
    const setting = { get tool() { return prefs.tool; }, get brush() { return prefs.brush; }, get value() { return prefs.value; }, ignore };
    large.pen = new Pen(large, setting, () => this.#superpixels(), (runs, tool) => this.#stroke(runs, tool));
    if (large.data) large.trace();
    this.panel.render();
  }

  #stroke(runs, tool) {
    const axis = this.large.axis;
    this.#strokes += this.#put({ do: "stroke", axis, index: this.at[axis], runs, tool, finding: this.finding?.id ?? null });
    this.panel.render();
  }

  async #superpixels() {
    const axis = this.large.axis, query = { axis, index: this.at[axis], channel: this.prefs.channel };
    try {
      const found = await this.slices.get(this.slices.path("superpixels", query));
      return found && new Uint32Array(found.bytes);
    } catch (error) {
      return say(`No superpixels (${error.message}).`), null;
    }
  }

  /** A finding that was drawn at is redrawn, unless its suggestion was accepted: then the strokes lie on top of it. */
  stopDrawing() {
    this.large.pen = null;
    if (this.large.data) this.large.trace();
    if (this.#strokes && this.finding && this.finding.verdict !== "accepted") this.verdict("redrawn");
    this.panel.render();
  }

  // --- keys ---

  hide(hidden) {
    this.hidden = hidden;
    this.views.forEach((view) => view.draw());
  }

  async comment() {
    const field = el("textarea", { rows: 4, value: (this.finding ?? this.study).comment ?? "", "aria-label": "Comment", autofocus: true });
    const finding = this.finding?.id ?? null, of = this.finding ? "this finding" : "this case";
    const how = await dialog(`Comment on ${of}`, field, [["save", "Save"], ["", "Cancel"]]);
    if (how === "save") this.#put({ do: "comment", finding, comment: field.value });
  }

  #cycle(list, now, by = 1) {
    return list[(list.indexOf(now) + by + list.length) % list.length];
  }

  actions = {
    accept: () => this.verdict("accepted"),
    refuse: () => this.verdict("refused"),
    unsure: () => this.verdict("unsure"),
    next: () => this.step(1),
    previous: () => this.step(-1),
    nextCase: () => this.app.nextCase(1),
    previousCase: () => this.app.nextCase(-1),
    list: () => this.app.go(null),
    draw: () => this.draw(),
    escape: () => (this.large.pen?.cancel() ? this.large.draw() : this.drawing && this.stopDrawing()),
    enter: () => {
      if (this.large.pen?.points.length) this.large.pen.finish();
      else if (this.app.audit.readonly || this.study.done) this.app.nextCase(1);
      else if (this.drawing) this.stopDrawing();
      else if (this.unseen) say(`${this.unseen} findings have no verdict yet.`), this.select(this.findings.find((finding) => !finding.verdict));
      else this.#put({ do: "done" });
    },
    reopen: () => this.#put({ do: "reopen" }),
    undo: () => (this.large.pen?.cancel() ? this.large.draw() : this.#put({ do: "undo" })),
    redo: () => this.#put({ do: "redo" }),
    smaller: () => this.setting("brush", Math.max(1, this.prefs.brush - 1)),
    larger: () => this.setting("brush", Math.min(99, this.prefs.brush + 1)),
    classBefore: () => this.setting("value", this.#cycle(this.app.values, this.prefs.value, -1)),
    classAfter: () => this.setting("value", this.#cycle(this.app.values, this.prefs.value)),
    axial: () => this.turn(axisOf(this.study, 0)),
    coronal: () => this.turn(axisOf(this.study, 1)),
    sagittal: () => this.turn(axisOf(this.study, 2)),
    up: () => this.scroll(this.large.axis, 1),
    down: () => this.scroll(this.large.axis, -1),
    hide: () => this.hide(true),
    outlines: () => this.setting("mode", this.#cycle(MODES, this.prefs.mode)),
    closer: () => {
      const { finding, large } = this;
      if (large.zoom > 1 || !finding?.box) large.fit();
      else large.zoomTo([finding.box[large.rowAxis], finding.box[large.colAxis]]);
    },
    zoomIn: () => this.large.zoomBy(1.3),
    zoomOut: () => this.large.zoomBy(1 / 1.3),
    nextWindow: () => this.setWindow(this.#cycle([null, ...(this.study.channels[this.prefs.channel]?.presets ?? []).map((p) => p.name)], this.prefs.window)),
    nextChannel: () => this.setChannel((this.prefs.channel + 1) % Math.max(1, this.study.channels.length)),
    doubt: () => ((this.doubt = !this.doubt), this.refresh()),
    comment: () => this.comment(),
    ...Object.fromEntries(TOOLS.map(([tool]) => [tool, () => this.tool(tool)])),
  };

  setting(name, value) {
    this.prefs[name] = value;
    this.panel.render();
    this.views.forEach((view) => view.draw());
  }

  setWindow(name) {
    this.takeWindow(name);
    this.refresh();
  }

  setChannel(channel) {
    this.prefs.channel = channel;
    this.setWindow(this.prefs.window);
  }
}
