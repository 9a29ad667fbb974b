// What stands around the planes of a case: the bar above, the slice below, the findings and verdicts at the right.

import { box, button, choice, el, keyed, words } from "./dom.js";
import { TOOLS } from "./draw.js";
import { axisOf, planeName } from "./view.js";

const MARKS = { accepted: "✓ accepted", refused: "✗ refused", redrawn: "✎ redrawn", unsure: "? unsure" };
const LAYERS = [["given", "given mask"], ["suggestion", "suggestion"], ["current", "as it stands"]];
const SIZES = Array.from({ length: 40 }, (_, i) => [i + 1, i + 1]);

const titleOf = ({ kind, class: name, other }) => `${words(kind)}: ${name}${other ? ` or ${other}` : ""}`;
const size = ({ volume_ml: ml, voxels }, unit) =>
  ml ? `${Number(ml.toPrecision(2))} ml` : voxels ? `${voxels} ${unit}` : "";

export class Panel {
  constructor(page) {
    this.page = page;
    this.bar = el("div", { className: "bar", role: "toolbar", "aria-label": "View and tools" });
    this.slider = el("input", { type: "range", min: 0, oninput: () => this.#slide() });
    this.where = el("span");
    this.under = el("span", { className: "under" });
    this.foot = box("foot", this.slider, this.where, this.under);
    this.next = el("p", { className: "next" });
    this.about = box("about");
    const verdict = (text, key, name) => keyed(text, key, page, { className: `verdict ${name}` });
    this.accept = verdict("Accept", "a", "accepted");
    this.refuse = verdict("Refuse", "r", "refused");
    this.unsure = verdict("Unsure", "u", "unsure");
    this.pencil = verdict("Draw", "d", "redrawn");
    this.done = keyed("Case done", "Enter", page, { className: "done" });
    this.undo = keyed("Undo", "z", page);
    this.redo = keyed("Redo", "y", page);
    this.comment = keyed("Comment", "c", page);
    this.reopen = button("Open again", () => page.put({ do: "reopen" }));
    this.list = el("ol", { className: "findings", "aria-label": "Findings" });
    this.side = el("section", { className: "side", "aria-label": "Findings and verdicts" }, this.next, this.about,
      box("verdicts", this.accept, this.refuse, this.unsure, this.pencil), this.done,
      box("row", this.undo, this.redo, this.comment, this.reopen), this.list);
  }

  render() {
    const { study, finding, app, drawing, unseen } = this.page;
    const fixed = Boolean(app.audit.readonly), locked = fixed || study.done;
    this.next.textContent = this.#whatNext();
    this.about.replaceChildren(...(finding ? this.#finding(finding) : []));
    for (const node of [this.accept, this.refuse, this.unsure]) {
      node.disabled = locked || !finding || (node === this.accept && !finding.suggested);
      node.setAttribute("aria-pressed", node.classList.contains(finding?.verdict));
    }
    const name = (node, text) => (node.firstChild.textContent = text);
    name(this.accept, finding?.hidden ? "It is wrong" : "Accept");
    name(this.refuse, finding?.hidden ? "It is right" : "Refuse");
    name(this.pencil, drawing ? "Stop" : "Draw");
    this.pencil.lastChild.textContent = drawing ? "Esc" : "d";
    this.pencil.disabled = locked;
    name(this.done, locked ? "Next case" : "Case done");
    this.done.disabled = !locked && unseen > 0;
    this.undo.disabled = locked || !study.can_undo;
    this.redo.disabled = locked || !study.can_redo;
    this.comment.disabled = locked;
    this.reopen.hidden = fixed || !study.done;
    this.#findings();
    this.#toolbar();
    this.readout();
  }

  #whatNext() {
    const { app, drawing, finding, revealed, study, unseen } = this.page, answer = finding && this.page.answer(finding);
    if (app.audit.readonly) return "Read only: look, but nothing can be changed.";
    if (drawing) return "Draw what is right (green). Esc when it is.";
    if (study.done) return "This case is done. Enter: next case.";
    if (finding && revealed === finding.id) return "Here is the suggestion. Answer again, or n: next.";
    if (!study.findings.length) return "No place is marked here. Is the mask (orange) right? If so, Enter; if not, draw (d).";
    if (!unseen) return "All findings seen. Enter: case done.";
    if (answer) return `${unseen} without a verdict. n: next.`;
    if (finding?.hidden) return "Is the mask wrong here? The suggestion comes after your answer.";
    if (finding?.suggested && finding.kind === "spurious") return "Should this part of the mask (orange) go?";
    if (finding?.suggested) return "Is the suggestion (blue, dashed) better than the given mask (orange)?";
    return "Is the mask right here (r)? If not, draw (d); if you cannot tell, u.";
  }

  #finding(finding) {
    const sure = `${finding.from === "model" ? "networks" : "check"}: ${Math.round(100 * finding.confidence)} % sure`;
    return [el("h2", {}, titleOf(finding)), el("p", {}, finding.text), el("p", { className: "facts" }, sure),
      el("p", { className: "comment" }, finding.comment ? `“${finding.comment}”` : "")];
  }

  #findings() {
    const { page, list } = this, focused = document.activeElement?.dataset?.finding;
    const unit = page.app.audit.dims === 2 ? "px" : "voxels";
    list.replaceChildren(...page.findings.map((finding) => {
      const { id } = finding, verdict = page.answer(finding), text = el("span", {}, titleOf(finding));
      const mark = el("span", { className: `mark ${verdict ?? ""}` }, MARKS[verdict] ?? size(finding, unit));
      const row = button([text, mark], () => page.select(finding), { className: "finding" });
      row.dataset.finding = id;
      if (finding === page.finding) row.setAttribute("aria-current", "true");
      if (id === focused) queueMicrotask(() => row.focus());
      return el("li", {}, row);
    }));
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  get presets() {
    const { study, prefs } = this.page;
    return study.rgb || !study.image ? [] : (study.channels[prefs.channel]?.presets ?? []).map(({ name }) => name);
  }

  /** Made anew each time; what had the focus has it again. */
  #toolbar() {
    const { page } = this, { study, prefs, planes, drawing } = page;
    const focused = this.bar.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    const pressed = (text, key, on, name = text) => keyed(text, key, page, { "aria-label": name, "aria-pressed": on });
    const turns = (planes.flat ? [] : [0, 1, 2]).map((plane) => {
      const axis = axisOf(study, plane);
      return pressed(planeName(study, axis), String(plane + 1), axis === planes.large.axis);
    });
    const lit = (layer) => [layer, "both"].includes(prefs.mode) || (drawing && layer === "current");
    const span = ([layer, text]) => el("span", { className: `legend ${lit(layer) ? layer : "off"}` }, text);
    const legend = keyed(LAYERS.map(span), "t", page, { "aria-label": `Outlines: ${prefs.mode}` });
    const doubt = pressed("Doubt", "m", planes.doubt, "Doubt map");
    const zoom = pressed("Zoom", "x", planes.large.zoom > 1);
    this.bar.replaceChildren(...turns, legend, ...this.#choices(), doubt, zoom);
    if (drawing) {
      const tools = TOOLS.map(([tool, key, text]) => pressed(text, key, tool === prefs.tool));
      this.bar.append(el("div", { className: "tools", role: "group", "aria-label": "Drawing" }, tools, this.#drawn()));
    }
    if (focused) this.bar.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Window and channel, where there is a choice. */
  #choices() {
    const { study, prefs, planes } = this.page, channels = study.channels.map(({ name }, i) => [i, name]);
    const windows = [["", "auto"], ...this.presets.map((name) => [name, name])];
    const window = () => choice("Window", windows, prefs.window ?? "", (name) => planes.setWindow(name || null));
    const channel = () => choice("Channel", channels, prefs.channel, (i) => this.page.setChannel(Number(i)));
    return [...(windows.length > 1 ? [window()] : []), ...(channels.length > 1 && !study.rgb ? [channel()] : [])];
  }

  /** What is drawn, and how wide. */
  #drawn() {
    const { app, prefs } = this.page, set = (key) => (value) => this.page.setting(key, Number(value));
    const pick = (name, key, options) => choice(name, options, prefs[key], set(key));
    return [pick("Class", "value", app.valueNames), pick("Size", "brush", SIZES)];
  }

  #slide() {
    const { planes } = this.page, { axis } = planes.large;
    planes.scroll(axis, this.slider.valueAsNumber - planes.at[axis]);
  }

  /** The slice, and what lies under the mouse. */
  readout() {
    const { study, planes, app } = this.page, { axis } = planes.large;
    const last = study.shape[axis] - 1, name = planeName(study, axis), { view, at } = planes.over ?? {};
    Object.assign(this.slider, { max: last, hidden: last === 0, value: planes.at[axis] });
    this.slider.setAttribute("aria-label", `Slice, ${name}`);
    this.where.textContent = last ? `${name} ${planes.at[axis] + 1} of ${last + 1}` : "";
    this.under.textContent = "";
    if (!view?.data) return;
    const value = (layer) => view.data.labels[layer][at[0] * view.cols + at[1]];
    const found = LAYERS.map(([layer, text]) => [text, app.className(value(layer))]);
    const telling = found.filter(([, value], i) => i === 0 || value !== found[0][1]);
    this.under.textContent = telling.map((pair) => pair.join(": ")).join(" · ");
  }
}
