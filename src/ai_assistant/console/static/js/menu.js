// A button that opens a small list of choices. Arrow keys move, Escape and a click outside close.

import { h } from "./dom.js";

let openMenu = null;
let count = 0;

document.addEventListener("click", (event) => {
  if (openMenu && !openMenu.frame.contains(event.target)) openMenu.close();
});

// `items()` gives the entries at each opening.
export function menu(button, items, { role = "menu" } = {}) {
  const id = `menu-${++count}`;
  const list = h("div", { class: "menu-list", role, id, hidden: true });
  const frame = h("div", { class: "menu" }, button, list);
  const self = { frame, close };
  button.setAttribute("aria-haspopup", role);
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", id);

  function open() {
    openMenu?.close();
    openMenu = self;
    refresh();
    list.hidden = false;
    frame.classList.toggle("upward", frame.getBoundingClientRect().top > innerHeight * 0.6);
    button.setAttribute("aria-expanded", "true");
    (list.querySelector("[aria-checked=true]") ?? list.querySelector("button"))?.focus();
  }

  function close() {
    if (openMenu === self) openMenu = null;
    list.hidden = true;
    button.setAttribute("aria-expanded", "false");
  }

  function refresh() {
    list.replaceChildren(...items(close));
  }

  button.addEventListener("click", () => (list.hidden ? open() : close()));
  frame.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const entries = [...list.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const next = entries.indexOf(document.activeElement) + step;
      entries[(next + entries.length) % entries.length]?.focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
      button.focus();
    }
  });
  return { ...self, refresh: () => list.hidden || refresh() };
}
