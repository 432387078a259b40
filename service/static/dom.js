// Elements from data. Text becomes text nodes and attributes are set one by one: nothing here, or anywhere on the page,
// parses a string as HTML, so a hostile id stays what it is.

const SVG = "http://www.w3.org/2000/svg";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; `attributes` may hold listeners (`onclick`), children are elements or text. */
export const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

/** An id that somebody else chose: shown whole, in its own direction of writing, and visible where it is blank. */
export function name(id) {
  const shown = id.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (character) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return el("bdi", { class: "id" }, shown.trim() === "" ? JSON.stringify(shown) : shown);
}
