// What stands around the planes of a case: the bar above, the slice below, the findings and verdicts at the right.

import { button, choice, el, keyed, words } from "./dom.js";
import { TOOLS } from "./draw.js";
import { axisOf, planeName } from "./view.js";

const MARKS = { accepted: "✓ accepted", refused: "✗ refused", redrawn: "✎ redrawn", unsure: "? unsure" };

export const titleOf = ({ kind, class: name, other }) => `${words(kind)}: ${name}${other ? ` or ${other}` : ""}`;

const size = ({ volume_ml: ml, voxels }) => (ml ? `${Number(ml.toPrecision(2))} ml` : voxels ? `${voxels} px` : "");

export class Panel {
  constructor(page) {
    this.page = page;
    const act = page.actions;
    this.bar = el("div", { className: "bar", role: "toolbar", "aria-label": "View and tools" });
    this.slider = el("input", { type: "range", min: 0, oninput: () => this.#slide() });
    this.where = el("span");
    this.under = el("span", { className: "under" });
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
    for (const node of this.verdicts) {
      node.disabled = fixed || !finding;
      node.setAttribute("aria-pressed", node.classList.contains(finding?.verdict));
    }
    this.verdicts[0].firstChild.textContent = finding?.hidden ? "It is wrong" : "Accept";
    this.verdicts[1].firstChild.textContent = finding?.hidden ? "It is right" : "Refuse";
    this.pencil.disabled = fixed;
    this.pencil.firstChild.textContent = drawing ? "Stop" : "Draw";
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
    if (finding && page.revealed === finding.id) return "Here is the suggestion. Answer again, or n: next.";
    if (finding?.verdict) return `${page.unseen} without a verdict. n: next.`;
    if (finding?.hidden) return "Is the label wrong here? The suggestion comes after your answer.";
    return finding?.suggested ? "Is the blue outline better than the orange one?" : "Is the label wrong here?";
  }

  #finding(finding) {
    const sure = `${finding.from === "model" ? "networks" : "check"}: ${Math.round(100 * finding.confidence)} % sure`;
    return [el("h2", {}, titleOf(finding)), el("p", {}, finding.text), el("p", { className: "facts" }, sure),
      el("p", { className: "comment" }, finding.comment ? `“${finding.comment}”` : "")];
  }

  #findings() {
    const { page } = this, focused = document.activeElement?.dataset?.finding;
    this.list.replaceChildren(...page.findings.map((finding) => {
      const row = button([el("span", {}, titleOf(finding)), el("span", { className: `mark ${finding.verdict ?? ""}` }, MARKS[finding.verdict] ?? size(finding))],
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

  get presets() {
    const { study, prefs } = this.page;
    return study.rgb || !study.image ? [] : (study.channels[prefs.channel]?.presets ?? []).map(({ name }) => name);
  }

  #toolbar() {
    const { page } = this, { study, prefs, app, drawing, planes } = page, named = (list) => list.map((name) => [name, name]);
    const focused = this.bar.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    const pressed = (text, key, action, on, name = text) => keyed(text, key, page.actions[action], { "aria-label": name, "aria-pressed": on });
    const turns = planes.flat ? [] : ["axial", "coronal", "sagittal"].map((action, i) => {
      const axis = axisOf(study, i);
      return pressed(planeName(study, axis), String(i + 1), action, axis === planes.large.axis);
    });
    const lit = (layer) => `legend ${layer} ${[layer, "both"].includes(prefs.mode) || (drawing && layer === "current") ? "" : "off"}`;
    const legend = [["given", "given"], ["suggestion", "suggested"], ["current", "now"]].map(([layer, text]) => el("span", { className: lit(layer) }, text));
    this.bar.replaceChildren(...turns, keyed(legend, "t", page.actions.outlines, { "aria-label": `Outlines: ${prefs.mode}` }),
      ...(this.presets.length ? [choice("Window", [["", "auto"], ...named(this.presets)], prefs.window ?? "", (name) => planes.setWindow(name || null))] : []),
      ...(study.channels.length > 1 && !study.rgb ? [choice("Channel", study.channels.map(({ name }, i) => [i, name]), prefs.channel, (i) => page.setChannel(Number(i)))] : []),
      pressed("Doubt", "m", "doubt", planes.doubt, "Doubt map"), pressed("Zoom", "x", "closer", planes.large.zoom > 1));
    if (drawing) {
      this.bar.append(el("div", { className: "tools", role: "group", "aria-label": "Drawing" },
        TOOLS.map(([tool, key, text]) => pressed(text, key, tool, tool === prefs.tool)),
        choice("Class", app.valueNames, prefs.value, (value) => page.setting("value", Number(value))),
        choice("Size", Array.from({ length: 40 }, (_, i) => [i + 1, i + 1]), prefs.brush, (width) => page.setting("brush", Number(width)))));
    }
    if (focused) this.bar.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #slide() {
    const { planes } = this.page, { axis } = planes.large;
    planes.scroll(axis, this.slider.valueAsNumber - planes.at[axis]);
  }

  /** The slice, and what lies under the mouse. */
  readout() {
    const { study, planes, app } = this.page, { axis } = planes.large, last = study.shape[axis] - 1, name = planeName(study, axis);
    Object.assign(this.slider, { max: last, hidden: last === 0, value: planes.at[axis] });
    this.slider.setAttribute("aria-label", `Slice, ${name}`);
    this.where.textContent = last ? `${name} ${planes.at[axis] + 1} of ${last + 1}` : "";
    const { view, at: [r, c] = [] } = planes.over ?? {}, labels = view?.data?.labels;
    const [given, suggestion, current] = ["given", "suggestion", "current"].map((layer) => labels && app.className(labels[layer][r * view.cols + c]));
    const told = [`given: ${given}`, suggestion === given ? "" : `suggested: ${suggestion}`, current === given ? "" : `now: ${current}`];
    this.under.textContent = labels ? told.filter(Boolean).join(" · ") : "";
  }
}
