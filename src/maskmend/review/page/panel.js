// What stands around the planes of a case: the bar above, the slice below, the findings and verdicts at the right.

import { button, choice, el, keyed, words } from "./dom.js";
import { TOOLS } from "./draw.js";
import { axisOf, planeName } from "./view.js";

const MARKS = { accepted: "✓ accepted", refused: "✗ refused", redrawn: "✎ redrawn", unsure: "? unsure" };
const MODES = [["both", "both"], ["given", "given"], ["suggestion", "suggestion"]];

export const titleOf = ({ kind, class: name, other }) => `${words(kind)}: ${name}${other ? ` or ${other}` : ""}`;

const facts = (finding) => [
  finding.volume_ml !== null && finding.volume_ml !== undefined ? `${finding.volume_ml.toPrecision(2)} ml` : finding.voxels ? `${finding.voxels} pixels` : "",
  finding.depth_mm ? `${finding.depth_mm.toPrecision(2)} mm deep` : "",
  `${Math.round(100 * finding.confidence)} % sure`,
].filter(Boolean).join(" · ");

export class Panel {
  constructor(page) {
    this.page = page;
    const act = page.actions;
    this.bar = el("div", { className: "bar", role: "toolbar", "aria-label": "View and tools" });
    this.slider = el("input", { type: "range", min: 0, oninput: () => page.scroll(page.large.axis, this.slider.valueAsNumber - page.at[page.large.axis]) });
    this.where = el("output");
    this.under = el("output", { className: "under" });
    this.foot = el("div", { className: "foot" }, this.slider, this.where, this.under);
    this.next = el("p", { className: "next" });
    this.about = el("div", { className: "about" });
    const verdict = (text, key, action, name) => keyed(text, key, act[action], { className: `verdict ${name}` });
    this.verdicts = [verdict("Accept", "a", "accept", "accepted"), verdict("Refuse", "r", "refuse", "refused"), verdict("Unsure", "u", "unsure", "unsure")];
    this.pencil = verdict("Draw", "d", "draw", "redrawn");
    this.done = keyed("Case done", "Enter", act.enter, { className: "done" });
    this.undo = keyed("Undo", "z", act.undo);
    this.redo = keyed("Redo", "y", act.redo);
    this.reopen = button("Open again", act.reopen);
    this.list = el("ol", { className: "findings", "aria-label": "Findings" });
    this.side = el("section", { className: "side", "aria-label": "Findings and verdicts" }, this.next, this.about,
      el("div", { className: "verdicts" }, this.verdicts, this.pencil), this.done,
      el("div", { className: "row" }, this.undo, this.redo, keyed("Comment", "c", act.comment), this.reopen), this.list);
  }

  render() {
    const { page } = this, { study, finding, app, drawing } = page, fixed = Boolean(app.audit.readonly);
    this.next.textContent = this.#whatNext();
    this.about.replaceChildren(...(finding ? this.#finding(finding) : []));
    for (const node of this.verdicts) node.disabled = fixed || !finding;
    for (const node of this.verdicts) node.setAttribute("aria-pressed", node.classList.contains(finding?.verdict));
    this.pencil.disabled = fixed;
    this.pencil.firstChild.textContent = drawing ? "Stop drawing" : "Draw";
    this.pencil.lastChild.textContent = drawing ? "Esc" : "d";
    this.done.firstChild.textContent = study.done || fixed ? "Next case" : "Case done";
    this.done.disabled = !fixed && !study.done && page.unseen > 0;
    this.undo.disabled = fixed || !study.can_undo;
    this.redo.disabled = fixed || !study.can_redo;
    this.reopen.hidden = fixed || !study.done;
    this.#findings();
    this.#toolbar();
    this.readout();
  }

  #whatNext() {
    const { page } = this, { finding, study } = page;
    if (page.app.audit.readonly) return "Read only: look, but nothing can be changed.";
    if (page.drawing) return "Draw what is right (green). Esc when it is.";
    if (study.done) return "This case is done. Enter: next case.";
    if (!page.unseen) return study.findings.length ? "All findings seen. Enter: case done." : "Nothing is doubted here. Look, then press Enter.";
    if (finding?.verdict) return `${page.unseen} without a verdict. n: next.`;
    if (finding?.hidden) return "Is the label wrong here? The suggestion is kept back.";
    return finding?.suggested ? "Is the blue outline better than the orange one?" : "Is the label wrong here?";
  }

  #finding(finding) {
    return [el("h2", {}, titleOf(finding)), el("p", {}, finding.text), el("p", { className: "facts" }, facts(finding)),
      finding.comment ? el("p", { className: "comment" }, `“${finding.comment}”`) : ""];
  }

  #findings() {
    const { page } = this, focused = document.activeElement?.dataset?.finding;
    this.list.replaceChildren(...page.findings.map((finding) => {
      const row = button([el("span", {}, titleOf(finding)), el("span", { className: `mark ${finding.verdict ?? ""}` }, MARKS[finding.verdict] ?? "")],
        () => page.select(finding), { className: "finding" });
      row.dataset.finding = finding.id;
      if (finding === page.finding) row.setAttribute("aria-current", "true");
      return el("li", {}, row);
    }));
    if (focused) this.list.querySelector(`[data-finding="${CSS.escape(focused)}"]`)?.focus();
    const here = this.list.querySelector("[aria-current]");
    if (here) this.list.scrollTop += Math.min(0, here.offsetTop - this.list.offsetTop - this.list.scrollTop)
      + Math.max(0, here.offsetTop + here.offsetHeight - this.list.offsetTop - this.list.scrollTop - this.list.clientHeight);
  }

  #toolbar() {
    if (this.bar.contains(document.activeElement)) this.refocus = document.activeElement.getAttribute("aria-label");
    const { page } = this, { study, prefs, app, drawing } = page, channel = study.channels[prefs.channel];
    const planes = study.shape[0] === 1 ? [] : [0, 1, 2].map((plane) => {
      const axis = axisOf(study, plane), name = planeName(study, axis);
      return keyed(name, String(plane + 1), () => page.turn(axis), { "aria-label": name, "aria-pressed": axis === page.large.axis });
    });
    const presets = [["", "auto"], ...(channel?.presets ?? []).map(({ name }) => [name, name])];
    const tools = TOOLS.map(([tool, key, text]) => keyed(text, key, () => page.tool(tool), { "aria-label": text, "aria-pressed": tool === prefs.tool }));
    this.bar.replaceChildren(...planes, choice("Outlines", MODES, prefs.mode, (mode) => page.setting("mode", mode)),
      ...(study.rgb || !study.image || presets.length < 2 ? [] : [choice("Window", presets, prefs.window ?? "", (name) => page.setWindow(name || null))]),
      ...(study.channels.length < 2 ? [] : [choice("Channel", study.channels.map(({ name }, i) => [i, name]), prefs.channel, (i) => page.setChannel(Number(i)))]),
      keyed("Doubt", "m", page.actions.doubt, { "aria-label": "Doubt map", "aria-pressed": page.doubt }),
      ...(drawing ? [el("div", { className: "tools", role: "group", "aria-label": "Drawing" }, tools,
        choice("Class", app.valueNames, prefs.value, (value) => page.setting("value", Number(value))),
        choice("Size", Array.from({ length: 40 }, (_, i) => [i + 1, i + 1]), prefs.brush, (size) => page.setting("brush", Number(size))))] : []));
    if (this.refocus) this.bar.querySelector(`[aria-label="${CSS.escape(this.refocus)}"]`)?.focus();
    this.refocus = null;
  }

  /** The slice, and what lies under the mouse. */
  readout() {
    const { page } = this, { axis } = page.large, { study } = page, last = study.shape[axis] - 1;
    Object.assign(this.slider, { max: last, hidden: last === 0 });
    this.slider.value = page.at[axis];
    this.slider.setAttribute("aria-label", `Slice, ${planeName(study, axis)}`);
    this.where.textContent = last ? `${planeName(study, axis)} ${page.at[axis] + 1} of ${last + 1}` : "";
    const { view, at: [r, c] = [] } = page.over ?? {}, labels = view?.data?.labels;
    if (!labels) return (this.under.textContent = "");
    const name = (layer) => page.app.className(labels[layer][r * view.cols + c]);
    const [given, suggestion, current] = ["given", "suggestion", "current"].map(name);
    this.under.textContent = [`given: ${given}`, suggestion === given ? "" : `suggested: ${suggestion}`, current === given ? "" : `now: ${current}`, `(${r}, ${c})`].filter(Boolean).join(" · ");
  }
}
