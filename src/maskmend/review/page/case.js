// One case: the finding in hand, what is said of it and what is drawn. Every event goes to the outbox first.

import { dialog, el, say } from "./dom.js";
import { Pen } from "./draw.js";
import { ACTS, after } from "./keys.js";
import { caseAt, getJson } from "./net.js";
import { Panel } from "./panel.js";
import { Planes } from "./planes.js";

const STAYS = "You refused the doubt: this place stays as it is now";
const SAID = { accepted: "Accepted", refused: STAYS, unsure: "Unsure", redrawn: "Redrawn" };
const CHANGES = new Set(["stroke", "undo", "redo", "verdict"]); // of labels

export class CasePage {
  finding = null;
  revealed = null; // id of the finding whose suggestion was kept back until it was answered
  #strokes = 0; // since drawing began
  #since = performance.now();

  constructor(app, study) {
    Object.assign(this, { app, study, name: study.case, prefs: app.prefs });
    this.prefs.channel = Math.min(this.prefs.channel, Math.max(0, study.channels.length - 1));
    this.planes = new Planes(this);
    this.panel = new Panel(this);
    const { bar, foot, side } = this.panel;
    this.root = el("div", { className: this.planes.flat ? "case flat" : "case" }, bar, this.planes.root, foot, side);
    if (!app.audit.readonly && !study.done) app.outbox.put(this.name, { do: "open" });
    this.select(this.nextUnseen ?? this.findings[0] ?? null);
  }

  static async open(app, name) {
    return new CasePage(app, await getJson(caseAt(name)));
  }

  get findings() {
    return this.study.findings;
  }

  get drawing() {
    return this.planes.large.pen !== null;
  }

  /** What was said of a finding; outcome.py has the same rule. A changed mask answers those that suggest nothing. */
  answer({ verdict, suggested }) {
    if (verdict && verdict !== "redrawn") return verdict;
    const accepted = this.findings.some((finding) => finding.verdict === "accepted");
    const changed = accepted || this.study.drawn || this.waiting("stroke").length;
    return changed && (verdict || !suggested) ? "redrawn" : null;
  }

  get unseen() {
    return this.findings.filter((finding) => !this.answer(finding)).length;
  }

  /** The first finding without an answer after the one in hand, then from the start. */
  get nextUnseen() {
    const all = this.findings, here = all.indexOf(this.finding) + 1;
    return [...all.slice(here), ...all.slice(0, here)].find((finding) => !this.answer(finding));
  }

  changed() {
    this.panel.render();
  }

  hovered() {
    this.panel.readout();
  }

  /** Events of this case that are not saved yet. */
  waiting(what) {
    const mine = this.app.outbox.waiting.filter(({ name }) => name === this.name).map(({ event }) => event);
    return mine.filter((event) => event.do === what);
  }

  close() {
    this.planes.close();
  }

  // --- saying ---

  select(finding) {
    this.finding = finding;
    this.#since = performance.now();
    if (finding?.slice) this.planes.look(finding.slice);
    else this.planes.refresh();
  }

  step(by) {
    if (this.findings.length) this.select(after(this.findings, this.finding, by));
  }

  verdict(verdict) {
    const { finding } = this;
    if (!finding) return say("There is no finding to judge here.");
    if (verdict === "accepted" && !finding.suggested) return say("Nothing is suggested here: draw what is right (d).");
    const seconds = Math.round((performance.now() - this.#since) / 100) / 10;
    const shown = finding.hidden ? "given" : this.prefs.mode, { id, comment } = finding;
    if (!this.put({ do: "verdict", finding: id, verdict, seconds, shown, comment })) return;
    finding.verdict = verdict;
    say(`${SAID[verdict]}. ${this.unseen ? `${this.unseen} to go.` : "All findings seen."}`);
    if (this.unseen && !finding.hidden) this.select(this.nextUnseen);
    else this.changed();
  }

  /** Why nothing can be changed here; "" where it can. */
  get locked() {
    if (this.app.audit.readonly) return "Read only: nothing can be changed here.";
    return this.study.done ? "This case is done: open it again to change it." : "";
  }

  /** Sends an event on its way; whether that may be. */
  put(event) {
    const why = event.do === "reopen" ? "" : this.locked;
    if (why) say(why);
    else this.app.outbox.put(this.name, event);
    return !why;
  }

  /** The server has written an event and tells how the case stands. */
  saved(event, study) {
    this.#take(study);
    if (CHANGES.has(event.do)) this.planes.renew();
    if (event.do === "done") this.app.nextCase(1, true);
  }

  /** The server will not write an event: show what is true. */
  async refused() {
    this.#take(await getJson(caseAt(this.name)).catch(() => this.study));
    this.planes.renew();
  }

  #take(study) {
    const before = this.finding;
    this.study = study;
    const found = (id) => study.findings.find((finding) => finding.id === id);
    for (const event of this.waiting("verdict")) found(event.finding).verdict = event.verdict;
    this.finding = found(before?.id) ?? null;
    if (before?.hidden && !this.finding?.hidden) this.revealed = before.id;
    this.changed();
  }

  enter() {
    const { pen } = this.planes.large;
    if (pen?.points.length) pen.finish();
    else if (this.drawing) this.#stopDrawing();
    else if (this.app.audit.readonly || this.study.done) this.app.nextCase(1);
    else if (!this.findings.length && performance.now() - this.#since < 700) say("Look at it first.");
    else if (this.unseen) say(`${this.unseen} without a verdict yet.`), this.select(this.nextUnseen);
    else this.put({ do: "done" });
  }

  async comment() {
    const { finding } = this, value = (finding ?? this.study).comment ?? "";
    const field = el("textarea", { rows: 4, value, "aria-label": "Comment", autofocus: true });
    const title = `Comment on this ${finding ? "finding" : "case"}`;
    const how = await dialog(title, field, [["save", "Save"], ["", "Cancel"]]);
    if (how === "save") this.put({ do: "comment", finding: finding?.id ?? null, comment: field.value });
  }

  // --- drawing ---

  tool(tool) {
    this.#drop();
    if (!this.drawing) this.draw();
    this.setting("tool", tool);
  }

  draw() {
    if (this.locked) return say(this.locked);
    if (this.drawing) return this.#stopDrawing();
    this.#strokes = 0;
    const { planes, prefs } = this, stroke = (runs, tool) => this.#stroke(runs, tool);
    planes.large.pen = new Pen(planes.large, prefs, this.app.audit.ignore, () => planes.superpixels(), stroke);
    planes.large.trace();
    this.changed();
  }

  #stroke(runs, tool) {
    const { axis, data: { index } } = this.planes.large, finding = this.finding?.id ?? null;
    this.#strokes += this.put({ do: "stroke", axis, index, runs, tool, finding });
  }

  /** A finding that was drawn at is redrawn, unless its suggestion was accepted: then the strokes lie on top of it. */
  #stopDrawing() {
    this.#drop();
    this.planes.large.pen = null;
    this.planes.large.trace();
    if (this.#strokes && this.finding && this.finding.verdict !== "accepted") this.verdict("redrawn");
    this.changed();
  }

  /** Drops the stroke or polygon that is not finished; whether there was one. */
  #drop() {
    const { large } = this.planes, open = large.pen?.cancel();
    if (open) this.planes.refresh();
    return open;
  }

  escape() {
    if (!this.#drop() && this.drawing) this.#stopDrawing();
  }

  undo() {
    if (!this.#drop()) this.put({ do: "undo" });
  }

  // --- settings ---

  hide(hidden) {
    this.planes.hidden = hidden;
    this.planes.trace();
  }

  setting(name, value) {
    this.prefs[name] = value;
    this.planes.trace();
    this.changed();
  }

  setChannel(channel) {
    this.prefs.channel = this.study.rgb ? 0 : channel % Math.max(1, this.study.channels.length);
    this.planes.setWindow(this.prefs.window);
  }

  nextWindow() {
    this.planes.setWindow(after([null, ...this.panel.presets], this.prefs.window));
  }

  closer() {
    const { large } = this.planes, box = this.finding?.box;
    if (large.zoom > 1 || !box) large.fit();
    else large.zoomTo([box[large.rowAxis], box[large.colAxis]]);
  }

  press(key) {
    ACTS.get(key)?.(this);
  }
}
