// All keys, in one table: [keys, what they do, the action of the page of a case, where it differs when drawing].

export const KEYS = [
  ["a", "accept the suggestion, then the next finding", "accept"],
  ["r", "refuse: the label is right, then the next finding", "refuse"],
  ["u", "unsure, then the next finding", "unsure"],
  ["n", "next finding", "next"],
  ["p", "previous finding", "previous"],
  ["Enter", "case done, then the next case (drawing: close the polygon)", "enter"],
  ["N", "next case (Shift + n)", "nextCase"],
  ["P", "previous case (Shift + p)", "previousCase"],
  ["d", "draw", "draw"],
  ["Escape", "stop drawing", "escape"],
  ["b", "brush", "brush"],
  ["e", "eraser", "eraser"],
  ["g", "polygon: click or drag, Enter closes it", "polygon"],
  ["s", "superpixel: a click takes one whole", "superpixel"],
  ["f", "fill the part under the click", "fill"],
  ["[", "smaller brush", "smaller"],
  ["]", "larger brush", "larger"],
  [",", "previous class to draw", "classBefore"],
  [".", "next class to draw", "classAfter"],
  ["z", "undo, also after the page was loaded again", "undo"],
  ["y", "redo", "redo"],
  ["1", "axial", "axial"],
  ["2", "coronal", "coronal"],
  ["3", "sagittal", "sagittal"],
  ["ArrowUp", "next slice (or the wheel)", "up"],
  ["ArrowDown", "slice before (or the wheel)", "down"],
  [" ", "hide outlines while held", "hide"],
  ["t", "outlines: given, suggestion or both", "outlines"],
  ["x", "zoom to the finding, and back", "closer"],
  ["+", "zoom in (or Ctrl + wheel; middle button drags)", "zoomIn"],
  ["-", "zoom out", "zoomOut"],
  ["w", "next window (right button drags its width and level)", "nextWindow"],
  ["k", "next channel", "nextChannel"],
  ["m", "doubt map", "doubt"],
  ["c", "comment", "comment"],
  ["l", "list of cases", "list"],
  ["?", "all keys", "help"],
];
const ACTIONS = new Map(KEYS.map(([key, , action]) => [key, action]));
const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", N: "Shift+n", P: "Shift+p" };
export const nameOf = (key) => NAMES[key] ?? key;

/** The action of a key event; null where the key belongs to what has the focus. */
export function actionOf(event) {
  if (event.metaKey || (event.ctrlKey && !event.altKey) || document.querySelector("dialog[open]")) return null;
  const focus = document.activeElement;
  if (focus?.matches("input:not([type=range]), textarea, select")) return null;
  if ([" ", "Enter"].includes(event.key) && focus?.matches("button:focus-visible, summary:focus-visible")) return null;
  if (event.key.startsWith("Arrow") && focus?.matches("input")) return null;
  return ACTIONS.get(event.key) ?? null;
}
