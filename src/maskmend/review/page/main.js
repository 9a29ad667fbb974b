// Starts the page, and leads from the list to a case and on.

import { CasePage } from "./case.js";
import { $, button, dialog, el, nameOf, say } from "./dom.js";
import { ACTS, isOurs, KEYS } from "./keys.js";
import { ListPage, SummaryPage } from "./list.js";
import { getJson, Outbox, takeToken, token } from "./net.js";

const NO_CANVAS = "This browser cannot draw: it has no canvas. Please use a recent Firefox, Chrome, Edge or Safari.";
const NO_KEY = "This page was opened without its key. Please open the address that `maskmend review` printed.";

class App {
  audit = null;
  page = null;
  prefs = { tool: "brush", brush: 5, value: 1, channel: 0, window: null, mode: "both" };
  filter = { kind: "", class: "", state: "" };
  #turn = 0;

  constructor() {
    this.outbox = new Outbox({
      saved: (name, event, answer) => this.#saved(name, event, answer),
      refused: (name, event, sentence) => {
        say(`Not saved, and it will not be: ${sentence}`);
        if (this.page?.name === name) this.page.refused(event);
      },
      changed: () => this.status(),
    });
    addEventListener("popstate", () => history.state && this.#show(history.state.rank));
    addEventListener("hashchange", () => (takeToken(), this.outbox.retry())); // the review was started again
    addEventListener("keydown", (event) => this.#key(event));
    addEventListener("keyup", (event) => event.key === " " && this.page?.hide?.(false));
    addEventListener("blur", () => this.page?.hide?.(false));
    $("help").addEventListener("click", () => this.help());
  }

  async start() {
    if (!document.createElement("canvas").getContext?.("2d")) return this.end(NO_CANVAS);
    if (!token) return this.end(NO_KEY);
    await this.load();
    this.prefs.value = this.audit.classes[1]?.value ?? 0;
    const { ignore } = this.audit, names = new Map(this.audit.classes.map(({ value, name }) => [value, name]));
    if (ignore !== null) names.set(ignore, "nobody annotated");
    this.valueNames = [...names];
    this.values = [...names.keys()];
    this.className = (value) => names.get(value) ?? (value === 65535 ? "nobody annotated" : `value ${value}`);
    await this.#show(history.state?.rank ?? null);
  }

  async load() {
    this.audit = await getJson("/api/audit");
    this.audit.classes.sort((a, b) => a.value - b.value);
    $("banner").textContent = this.audit.readonly ?? "";
    $("banner").hidden = !this.audit.readonly;
    this.status();
  }

  /** The cases that pass the filter, in order of rank. */
  cases() {
    const { kind, class: name, state } = this.filter;
    return this.audit.cases.filter((entry) => (!kind || entry.kinds.includes(kind))
      && (!name || entry.classes.includes(name)) && (!state || entry.state === state));
  }

  open(name) {
    return this.go(this.audit.cases.findIndex((entry) => entry.case === name));
  }

  /** To the case of this place in the list, the list (null) or the "summary". The tab's history holds no names. */
  go(rank) {
    history.pushState({ token, rank }, "", location.pathname);
    return this.#show(rank);
  }

  async #show(rank) {
    const turn = ++this.#turn, entry = this.audit.cases[rank];
    try {
      if (!entry) await this.load();
      const open = entry ? CasePage : rank === "summary" ? SummaryPage : ListPage;
      const page = await open.open(this, entry?.case);
      if (turn !== this.#turn) return page.close();
      this.page?.close();
      this.page = page;
      $("main").replaceChildren(page.root);
      $("title").textContent = entry ? entry.case : rank === "summary" ? "Summary" : "Cases";
      const link = (text, to) => button(text, () => this.go(to), { "aria-current": to === rank ? "page" : "false" });
      $("nav").replaceChildren(link("Cases", null), link("Summary", "summary"));
      say("");
    } catch (error) {
      say(`Not loaded: ${error.message}`);
    }
    this.status();
  }

  /** The next case of the list (by = 1) or the one before; `open`: one that is not done; the summary after the last. */
  nextCase(by, open = false) {
    const all = this.cases(), names = all.map((entry) => entry.case), here = names.indexOf(this.page.name);
    const order = [...all.slice(here + 1), ...all.slice(0, Math.max(0, here))];
    const next = open ? order.find(({ state }) => state !== "done") : all[here + by];
    if (next) return this.open(next.case);
    return open ? this.go("summary") : say(by > 0 ? "This is the last case." : "This is the first case.");
  }

  #saved(name, event, { case: study, progress }) {
    this.audit.progress = progress;
    const entry = this.audit.cases.find((other) => other.case === name);
    entry.state = study.done ? "done" : "begun";
    if (this.page?.name === name) this.page.saved(event, study);
  }

  status() {
    const { waiting, trouble } = this.outbox, node = $("saved"), again = button("Try now", () => this.outbox.retry());
    $("progress").textContent = this.audit?.progress.sentence ?? "";
    node.className = trouble ? "trouble" : "";
    if (trouble) node.replaceChildren(`Not saved: ${trouble}. ${waiting.length} kept here; trying again.`, again);
    else node.replaceChildren(waiting.length ? "Saving …" : this.audit?.readonly ? "" : "All saved");
  }

  #key(event) {
    if (!isOurs(event)) return;
    if (ACTS.has(event.key)) event.preventDefault();
    if (event.key === "?") this.help();
    else this.page?.press?.(event.key);
  }

  help() {
    const rows = KEYS.map(([key, text]) => el("div", {}, el("dt", {}, el("kbd", {}, nameOf(key))), el("dd", {}, text)));
    dialog("All keys", el("dl", { className: "keys" }, rows), [["", "Close"]]);
  }

  end(sentence) {
    this.page?.close();
    this.page = null;
    $("main").replaceChildren(el("p", { className: "end" }, sentence));
  }
}

const app = new App();
app.start().catch((error) => app.end(`The review cannot be shown: ${error.message}.`));
