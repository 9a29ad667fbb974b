// Elements are made here and nowhere else. Text becomes text nodes: a name of a case is never read as HTML.

/** An element. Props: `on…` are listeners, the others are set, or written as attributes where it has no such prop. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const box = (className, ...children) => el("div", { className }, ...children);

export const button = (text, onclick, props = {}) => el("button", { type: "button", onclick, ...props }, text);

/** A button with its key beside it, which it presses. */
export function keyed(text, key, page, props = {}) {
  const content = [el("span", {}, text), el("kbd", {}, nameOf(key))];
  return button(content, () => page.press(key), { "aria-keyshortcuts": key, ...props });
}

/** A labelled choice; options are [value, text]. The keyboard goes back to the page once something is chosen. */
export function choice(name, options, value, onchoose) {
  const select = el("select", { "aria-label": name }, options.map(([v, text]) => el("option", { value: v }, text)));
  select.value = value;
  select.addEventListener("change", () => (onchoose(select.value), select.blur()));
  return el("label", { className: "choice" }, el("span", {}, name), select);
}

/** Shows a dialog, and resolves with what `button` closed it ("" by Escape). */
export function dialog(title, content, buttons) {
  const form = el("form", { method: "dialog" }, el("h2", {}, title), content,
    el("p", { className: "row" }, buttons.map(([value, text]) => el("button", { value }, text))));
  const node = el("dialog", { "aria-label": title }, form);
  document.body.append(node);
  node.showModal();
  return new Promise((resolve) => node.addEventListener("close", () => (node.remove(), resolve(node.returnValue))));
}

/** A table; every row is a list of texts, numbers or nodes. */
export function table(caption, head, rows) {
  const text = (cell) => (typeof cell === "number" ? String(Math.round(100 * cell) / 100) : cell ?? "–");
  return el("table", {}, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, text(cell)))))));
}

export const words = (kind) => kind.replaceAll("_", " ");
const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", N: "Shift+n", P: "Shift+p" };
export const nameOf = (key) => NAMES[key] ?? key;
export const $ = (id) => document.getElementById(id);

/** Says a sentence at the foot of the page, and to those who do not see it. */
export const say = (sentence) => ($("said").textContent = sentence);
