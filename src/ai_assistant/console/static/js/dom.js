// Elements from plain calls, with their words taken from i18n.

import { translate } from "./i18n.js";

const WORDS = { t: "t", tLabel: "tLabel", tPlaceholder: "tPlaceholder", tArgs: "tArgs" };

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(node, name, value);
  if (Object.keys(props).some((name) => name in WORDS)) translate(node);
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

function setProp(node, name, value) {
  if (value == null) return;
  if (name === "class") node.className = value;
  else if (name === "data") Object.assign(node.dataset, value);
  else if (name === "tArgs") node.dataset.tArgs = JSON.stringify(value);
  else if (name in WORDS) node.dataset[name] = value;
  else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name in node) node[name] = value;
  else node.setAttribute(name, value);
}

// Change an element's words without rebuilding it.
export function say(node, key, args) {
  node.dataset.t = key;
  if (args) node.dataset.tArgs = JSON.stringify(args);
  else delete node.dataset.tArgs;
  translate(node);
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
