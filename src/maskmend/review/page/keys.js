// All keys of a case, in one table: the key, what it does in words, and how. A button on the page is one of these keys.

import { TOOLS } from "./draw.js";
import { axisOf } from "./view.js";

const MODES = ["both", "given", "suggestion"];
const turn = (plane) => (page) => page.planes.turn(axisOf(page.study, plane));
const scroll = (steps) => ({ planes }) => planes.scroll(planes.large.axis, steps);
const zoom = (factor) => ({ planes }) => planes.large.zoomBy(factor);
const grow = (by) => (page) => page.setting("brush", Math.min(40, Math.max(1, page.prefs.brush + by)));
const another = (name, list, by = 1) => (page) => page.setting(name, after(list(page), page.prefs[name], by));

/** What comes `by` places after `now` in a list that goes round. */
export const after = (list, now, by = 1) => list[(list.indexOf(now) + by + list.length) % list.length];

export const KEYS = [
  ["a", "accept the suggestion, then the next finding", (page) => page.verdict("accepted")],
  ["r", "refuse: the mask is right, then the next finding", (page) => page.verdict("refused")],
  ["u", "unsure, then the next finding", (page) => page.verdict("unsure")],
  ["n", "next finding", (page) => page.step(1)],
  ["p", "previous finding", (page) => page.step(-1)],
  ["Enter", "case done, then the next case (drawing: close the polygon)", (page) => page.enter()],
  ["N", "next case", (page) => page.app.nextCase(1)],
  ["P", "previous case", (page) => page.app.nextCase(-1)],
  ["d", "draw", (page) => page.draw()],
  ["Escape", "stop drawing", (page) => page.escape()],
  ...TOOLS.map(([tool, key, , text]) => [key, text, (page) => page.tool(tool)]),
  ["[", "smaller brush", grow(-1)],
  ["]", "larger brush", grow(1)],
  [",", "previous class to draw", another("value", (page) => page.app.values, -1)],
  [".", "next class to draw", another("value", (page) => page.app.values)],
  ["z", "undo, also after the page was loaded again", (page) => page.undo()],
  ["y", "redo", (page) => page.put({ do: "redo" })],
  ["1", "axial", turn(0)],
  ["2", "coronal", turn(1)],
  ["3", "sagittal", turn(2)],
  ["ArrowUp", "next slice (or the wheel)", scroll(1)],
  ["ArrowDown", "slice before (or the wheel)", scroll(-1)],
  [" ", "hide outlines while held", (page) => page.hide(true)],
  ["t", "outlines: given mask, suggestion or both", another("mode", () => MODES)],
  ["x", "zoom to the finding, and back", (page) => page.closer()],
  ["+", "zoom in (or Ctrl + wheel; middle button drags)", zoom(1.3)],
  ["-", "zoom out", zoom(1 / 1.3)],
  ["w", "next window (right button drags its width and level)", (page) => page.nextWindow()],
  ["k", "next channel", (page) => page.setChannel(page.prefs.channel + 1)],
  ["m", "doubt map", ({ planes }) => ((planes.doubt = !planes.doubt), planes.refresh())],
  ["c", "comment", (page) => page.comment()],
  ["l", "list of cases", (page) => page.app.go(null)],
  ["?", "all keys", (page) => page.app.help()],
];
export const ACTS = new Map(KEYS.map(([key, , act]) => [key, act]));

const REPEATED = new Set(["ArrowUp", "ArrowDown", "[", "]", "n", "p", "+", "-"]); // while held

/** Whether a key event is for the page, and not for what has the focus. */
export function isOurs(event) {
  const { key, repeat, metaKey, ctrlKey, altKey } = event, focus = document.activeElement;
  if (metaKey || (ctrlKey && !altKey) || (repeat && !REPEATED.has(key))) return false;
  if (document.querySelector("dialog[open]")) return false;
  if (focus?.matches("input:not([type=range]), textarea, select")) return false;
  if ([" ", "Enter"].includes(key) && focus?.matches("button:focus-visible, summary:focus-visible")) return false;
  return !(key.startsWith("Arrow") && focus?.matches("input"));
}
