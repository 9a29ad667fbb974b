// The worklist, the most doubtful case first, and the summary of the review.

import { box, button, choice, el, say, table, words } from "./dom.js";
import { caseAt, getBlob, getJson, post } from "./net.js";

const STATES = { new: "not seen", begun: "begun", done: "done" };
const VERDICTS = ["accepted", "refused", "redrawn", "unsure"];
const ORDER = "The most doubtful cases come first.";
const MIXED = ["Some cases that nothing speaks against are mixed in, to see whether you find what the networks miss.",
  "So doubt and findings are shown here once a case is done (maskmend review --blind 0 shows them at once)."].join(" ");

/** "3 of 12 (25 %)"; how long: "40 s", "3 min", "1 h 20 min". */
const ofAll = ([part, all]) => (all ? `${part} of ${all} (${Math.round((100 * part) / all)} %)` : "none so far");
function lasting(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.round(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Loads pictures of rows once they come into sight. */
const watch = () => new IntersectionObserver((entries, self) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    self.unobserve(target);
    getBlob(`${caseAt(target.dataset.case)}/thumbnail`).then((blob) => {
      target.src = URL.createObjectURL(blob);
      target.onload = () => URL.revokeObjectURL(target.src);
    }).catch(() => {});
  }
}, { rootMargin: "300px" });

export class ListPage {
  static open = (app) => new ListPage(app);

  constructor(app) {
    this.app = app;
    this.sight = watch();
    const { audit, filter } = app;
    const pick = (name, key, options) => choice(name, [["", "all"], ...options], filter[key], (value) => {
      filter[key] = value;
      this.render();
    });
    this.start = button("", () => this.press("Enter"), { className: "start" });
    this.count = el("p", { className: "count", role: "status" });
    const classes = audit.classes.map(({ name }) => [name, name]);
    const kinds = audit.kinds.map((kind) => [kind, words(kind)]);
    const filters = box("bar", pick("Doubted", "kind", kinds), pick("Class", "class", classes),
      pick("State", "state", Object.entries(STATES)), this.count);
    this.table = table("Cases", ["", "Case", "Doubt", "What is doubted", "Answered", "State"], []);
    const order = el("p", { className: "quiet" }, audit.blind ? `${ORDER} ${MIXED}` : ORDER);
    this.root = box("list", box("lead", this.start, el("p", { className: "next" }, audit.progress.next)),
      el("details", {}, el("summary", {}, "What the audit says of these masks"), audit.sentences.map((text) => el("p", {}, text))),
      order, filters, this.table);
    this.render();
  }

  render() {
    const { app } = this, shown = app.cases();
    this.begin = (shown.find(({ state }) => state !== "done") ?? shown[0])?.case;
    const how = shown.some(({ state }) => state !== "new") ? "Go on" : "Start";
    this.start.textContent = this.begin ? `${how} with ${this.begin}` : "No case fits the filter";
    this.start.disabled = !this.begin;
    this.count.textContent = `${shown.length} of ${app.audit.cases.length} cases`;
    this.table.tBodies[0].replaceChildren(...shown.map((entry) => this.#row(entry)));
  }

  #row({ case: name, kinds, told, state, changed }) {
    const picture = el("img", { alt: "", width: 64, height: 64 });
    picture.dataset.case = name;
    this.sight.observe(picture);
    const { doubt, findings, seen } = told ?? { doubt: null };
    const meter = el("meter", { min: 0, max: 1, value: doubt ?? 0, "aria-label": "Doubt" });
    const cells = [picture, button(name, null, { className: "open" }), doubt === null ? "" : [meter, doubt.toFixed(2)],
      told ? kinds.map(words).join(", ") || "nothing" : "", findings ? `${seen} of ${findings}` : "",
      el("span", { className: `state ${state}` }, STATES[state] + (changed ? ", changed" : ""))];
    return el("tr", { onclick: () => this.app.open(name) }, cells.map((cell) => el("td", {}, cell)));
  }

  /** Arrow keys go from case to case. */
  press(key) {
    if (key === "Enter" && this.begin) this.app.open(this.begin);
    if (!key.startsWith("Arrow")) return;
    const all = [...this.table.querySelectorAll("button")];
    const i = all.indexOf(document.activeElement) + (key === "ArrowUp" ? -1 : 1);
    all[Math.min(all.length - 1, Math.max(0, i))]?.focus();
  }

  close() {
    this.sight.disconnect();
  }
}

export class SummaryPage {
  constructor(app, { sentence, verdicts, seconds, by_kind: kinds, blind, curve }) {
    this.app = app;
    this.curve = el("canvas", { className: "curve", role: "img", "aria-label": "Review curve" });
    const counts = (of) => VERDICTS.map((verdict) => of[verdict] ?? 0);
    const byKind = Object.entries(kinds).map(([kind, of]) => [words(kind), ...counts(of)]);
    this.root = box("summary", el("p", { className: "next" }, sentence),
      box("row", button("Finish the review", () => this.#finish(), { className: "start" }),
        button("Download review.csv", () => this.#download())),
      el("figure", {}, this.curve, el("figcaption", {}, "Wrong masks found (upwards) against cases seen")),
      table("Your answers", ["What was doubted", ...VERDICTS], [...byKind, ["all", ...counts(verdicts)]]),
      el("p", { className: "quiet" }, `Time at findings: ${lasting(seconds)}.`),
      blind && table("Did you follow the suggestions, or your eyes?", ["", "you found wrong"], [
        ["findings whose suggestion you saw", ofAll(blind.shown)],
        ["findings whose suggestion was kept back until you answered", ofAll(blind.hidden)],
        ["cases that nothing spoke against", ofAll(blind.undoubted)]]));
    this.watch = new ResizeObserver(() => this.#plot(curve));
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
    await post("/api/finish", {}).catch(() => {}); // the server may be gone before it answers
    this.app.end("The review is finished. You can close this tab.");
  }

  close() {
    this.watch.disconnect();
  }
}
