// Where messages are written. What was typed is kept for each conversation until it is sent.

import { h, say } from "./dom.js";
import { icon } from "./icons.js";
import { translate } from "./i18n.js";
import { recall, remember } from "./prefs.js";

const touch = matchMedia("(pointer: coarse)");

export function composer({ onSend, onStop }) {
  let draft = "draft";
  let working = false;
  const area = h("textarea", {
    id: "message", rows: 1, tPlaceholder: "placeholder", tLabel: "placeholder", enterKeyHint: "send",
    autocomplete: "off",
  });
  const button = h("button", { class: "send", type: "button", tLabel: "send" });
  const foot = h("p", { class: "footnote", t: "footnote" });

  function send() {
    const text = area.value.trim();
    if (!text || working) return;
    area.value = "";
    remember(draft, null);
    grow();
    onSend(text);
  }

  function grow() {
    button.disabled = !working && !area.value.trim();
    if (CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }

  function busy(value) {
    working = value;
    button.replaceChildren(icon(value ? "stop" : "send"));
    button.classList.toggle("stopping", value);
    button.dataset.tLabel = value ? "stop" : "send";
    translate(button);
    grow();
  }

  area.addEventListener("input", () => {
    remember(draft, area.value);
    grow();
  });
  area.addEventListener("keydown", (event) => {
    // 229: the key belongs to an input method that is composing, also where isComposing is late.
    if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
    if (event.shiftKey || (touch.matches && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    send();
  });
  button.addEventListener("click", () => (working ? onStop() : send()));
  busy(false);

  return {
    element: h("div", { class: "composer-frame" }, h("div", { class: "composer" }, area, button), foot),
    busy,
    focus: () => area.focus({ preventScroll: true }),
    note: (key) => say(foot, key),
    open(id) {
      draft = `draft.${id}`;
      area.value = recall(draft, "");
      grow();
    },
  };
}
