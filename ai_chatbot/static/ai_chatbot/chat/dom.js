/* Making and changing elements. Text is always text: nothing here parses HTML. */

/** el("p.note", {title}, "text", child): properties by name, `data-…`, `aria-…`, role as
 * attributes, functions named on… as listeners; null children are left out. */
export function el(selector, properties = {}, ...children) {
  const [name, ...classes] = selector.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") {
      element.setAttribute(key, value);
    } else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A 24 × 24 line icon from path data of our own. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const icons = {
  chat: "M4 5h16v11H9l-5 4z",
  close: "M6 6l12 12M18 6L6 18",
  send: "M4 12l16-8-5 16-3.5-6.5z",
  down: "M12 5v14M6 13l6 6 6-6",
  back: "M19 12H5M11 6l-6 6 6 6",
  thumb: "M7 11v9H4v-9zM7 11l4-8a2 2 0 0 1 2 2v4h5.5a2 2 0 0 1 2 2.3l-1.2 7a2 2 0 0 1-2 1.7H7",
  refresh: "M20 11a8 8 0 1 0-.6 4M20 5v6h-6",
};

/** Change what differs, so that selections, focus and screen readers are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/**
 * Make `parent` have one child for each item, in order; an item's child is kept, by its key, and
 * updated. `make(item)` and `update(element, item)`.
 */
export function reconcile(parent, items, { key, make, update }) {
  const known = new Map();
  for (const child of parent.children) known.set(child.dataset.key, child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (child) known.delete(name);
    else {
      child = make(item);
      child.dataset.key = name;
    }
    update?.(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}

/** The address if it is one that a link may have, else null. */
export function safeAddress(address, base) {
  try {
    const url = new URL(address, base);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const ADDRESS = /https?:\/\/[^\s<>"'“”‘’（）()，。；、！？]+/g;

/** Text with its web addresses as links. */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = match[0].replace(/[.,;:!?]+$/, "");
    const href = safeAddress(address);
    if (!href) continue;
    parts.push(text.slice(end, match.index), outwards(href, address));
    end = match.index + address.length;
  }
  parts.push(text.slice(end));
  return parts.filter(Boolean);
}

/** A link that opens beside the page. */
export function outwards(href, text) {
  return el("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
}
