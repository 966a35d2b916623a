// Short notes at the bottom, with at most one thing to do about them.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN_MS = 7000;
const shelf = h("div", { class: "toasts", role: "status" });

export function toast(text, { action, onAction, lasting = false } = {}) {
  if (!shelf.isConnected) document.body.append(shelf);
  const close = () => note.remove();
  const note = h("div", { class: "toast" },
    h("span", {}, text),
    action && h("button", {
      class: "toast-action", type: "button", t: action,
      onclick: () => {
        close();
        onAction();
      },
    }),
    h("button", { class: "icon-button small", type: "button", tLabel: "dismiss", onclick: close }, icon("close")));
  shelf.append(note);
  if (!lasting) setTimeout(close, SHOWN_MS);
}
