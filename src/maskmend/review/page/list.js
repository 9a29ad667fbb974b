// The worklist, the most doubtful case first, and the summary of the review.

import { button, choice, el, say, words } from "./dom.js";
import { caseAt, getBlob, getJson, post } from "./net.js";

const STATES = { new: "not seen", begun: "begun", done: "done" };

/** Loads pictures of rows once they come into sight. */
const watch = () => new IntersectionObserver((entries, self) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    self.unobserve(target);
    getBlob(`${caseAt(target.dataset.case)}/thumbnail`).then((blob) => {
      target.src = URL.createObjectURL(blob);
      target.onload = () => URL.revokeObjectURL(target.src);
    }).catch(() => {});
  }
}, { rootMargin: "300px" });

export class ListPage {
  constructor(app) {
    this.app = app;
    this.sight = watch();
    const { filter, audit } = app, any = [["", "all"]];
    const pick = (name, key, options) => choice(name, [...any, ...options], filter[key], (value) => ((filter[key] = value), this.render()));
    this.start = button("", () => this.begin && app.open(this.begin), { className: "start" });
    this.rows = el("tbody");
    this.count = el("p", { className: "count", role: "status" });
    this.root = el("div", { className: "list" },
      el("div", { className: "lead" }, this.start, el("p", { className: "next" }, audit.progress.next ?? "")),
      el("details", {}, el("summary", {}, "About these labels"), audit.sentences.map((text) => el("p", {}, text))),
      el("div", { className: "bar", role: "group", "aria-label": "Filter" },
        pick("Kind", "kind", audit.kinds.map((kind) => [kind, words(kind)])),
        pick("Class", "class", audit.classes.map(({ name }) => [name, name])),
        pick("State", "state", Object.entries(STATES)), this.count),
      el("table", {}, el("thead", {}, el("tr", {}, ["", "Case", "Doubt", "Findings", "Seen", "State"].map((text) => el("th", { scope: "col" }, text)))), this.rows));
    this.render();
  }

  render() {
    const { app } = this, shown = app.cases();
    this.begin = shown.find(({ state }) => state !== "done")?.case ?? shown[0]?.case;
    this.start.replaceChildren(this.begin ? `${shown.some(({ state }) => state !== "new") ? "Go on" : "Start"} with ${this.begin}` : "No case fits the filter");
    this.start.disabled = !this.begin;
    this.count.textContent = `${shown.length} of ${app.audit.cases.length} cases`;
    this.rows.replaceChildren(...shown.map((entry) => this.#row(entry)));
  }

  #row({ case: name, doubt, kinds, findings, seen, state, changed }) {
    const picture = el("img", { alt: "", width: 64, height: 64 });
    picture.dataset.case = name;
    this.sight.observe(picture);
    const risk = doubt === null ? "" : [el("meter", { min: 0, max: 1, value: doubt, "aria-label": "Doubt" }), el("span", {}, doubt.toFixed(2))];
    const open = () => this.app.open(name);
    return el("tr", { onclick: open }, el("td", {}, picture), el("td", {}, button(name, null, { className: "open" })), el("td", { className: "doubt" }, risk),
      el("td", {}, kinds.map(words).join(", ")), el("td", {}, findings ? `${seen} of ${findings}` : "–"),
      el("td", { className: `state ${state}` }, STATES[state] + (changed ? ", changed" : "")));
  }

  /** Arrow keys go from case to case. */
  actions = { up: () => this.#move(-1), down: () => this.#move(1), enter: () => this.begin && this.app.open(this.begin), draw: null };

  #move(by) {
    const all = [...this.rows.querySelectorAll("button")], i = all.indexOf(document.activeElement);
    all[Math.min(all.length - 1, Math.max(0, i + by))]?.focus();
  }

  close() {
    this.sight.disconnect();
  }
}

const table = (name, head, rows) => el("table", {}, el("caption", {}, name),
  el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
  el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, typeof cell === "number" ? String(Math.round(100 * cell) / 100) : cell ?? "–"))))));

export class SummaryPage {
  actions = {};

  constructor(app, summary) {
    this.app = app;
    const verdicts = ["accepted", "refused", "redrawn", "unsure"];
    this.curve = el("canvas", { className: "curve", role: "img", "aria-label": "Wrong labels found against cases seen" });
    this.root = el("div", { className: "summary" }, el("p", { className: "next" }, summary.sentence),
      el("div", { className: "row" }, button("Download review.csv", () => this.#download()), button("Finish the review", () => this.#finish(), { className: "start" })),
      el("figure", {}, this.curve, el("figcaption", {}, "Found (cases with an accepted or redrawn finding) against cases seen")),
      table("Verdicts", [...verdicts, "minutes"], [[...verdicts.map((verdict) => summary.verdicts[verdict] ?? 0), summary.minutes]]),
      table("By kind", ["kind", ...verdicts], Object.entries(summary.by_kind).map(([kind, counts]) => [words(kind), ...verdicts.map((verdict) => counts[verdict] ?? 0)])),
      summary.blind ? table("Judged without the suggestion", ["", ""], Object.entries(summary.blind).map(([what, value]) => [words(what), value])) : null);
    this.watch = new ResizeObserver(() => this.#plot(summary.curve));
    this.watch.observe(this.curve);
  }

  static async open(app) {
    return new SummaryPage(app, await getJson("/api/summary"));
  }

  #plot(curve) {
    const { curve: canvas } = this, [w, h] = [canvas.clientWidth, canvas.clientHeight], pen = canvas.getContext("2d");
    Object.assign(canvas, { width: w * devicePixelRatio, height: h * devicePixelRatio });
    pen.scale(devicePixelRatio, devicePixelRatio);
    const [seen, found] = [0, 1].map((i) => Math.max(1, ...curve.map((point) => point[i])));
    const x = (value) => 36 + (value / seen) * (w - 60), y = (value) => h - 24 - (value / found) * (h - 40);
    Object.assign(pen, { strokeStyle: "#555", fillStyle: "#ccc", font: "13px system-ui, sans-serif" });
    pen.strokeRect(x(0), y(found), x(seen) - x(0), y(0) - y(found));
    pen.fillText(String(found), 8, y(found) + 5);
    pen.fillText(String(seen), x(seen) - 8, h - 6);
    Object.assign(pen, { strokeStyle: "#E69F00", lineWidth: 2.5 });
    pen.beginPath();
    for (const [a, b] of [[0, 0], ...curve]) pen.lineTo(x(a), y(b));
    pen.stroke();
  }

  async #download() {
    const link = el("a", { href: URL.createObjectURL(await getBlob("/api/review.csv")), download: "review.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async #finish() {
    if (this.app.outbox.waiting.length) return say("Not everything is saved yet; finish once it is.");
    await post("/api/finish", {}).catch((error) => error.status && say(error.message));
    this.app.end("The review is finished. You can close this tab.");
  }

  close() {
    this.watch.disconnect();
  }
}
