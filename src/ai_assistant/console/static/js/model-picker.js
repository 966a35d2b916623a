// The model of this conversation, and how each model is.

import { h, say } from "./dom.js";
import { compact } from "./format.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { models } from "./models.js";

export function modelPicker(chat) {
  const name = h("span", { class: "model-name" });
  const dot = h("span", { class: "dot" });
  const button = h("button", { class: "picker", type: "button", tLabel: "model" }, dot, name, icon("down"));
  const choices = menu(button, (close) => models.list.map((model) => choice(model, close)));

  function choice(model, close) {
    const state = model.state === "loading" && model.progress
      ? h("span", { class: "muted" }, `${Math.round(model.progress * 100)} %`)
      : h("span", { class: "muted", t: model.state });
    return h("button", {
      class: "menu-item", type: "button", role: "menuitemradio",
      "aria-checked": String(model.id === chat.model),
      onclick: () => {
        chat.setModel(model.id);
        close();
        show();
      },
    },
    h("span", { class: "dot", data: { state: model.state } }),
    h("span", { class: "grow" }, model.id,
      model.info && h("small", {}, `${compact(model.info.parameters)} · ${model.info.quantisation}`)),
    state);
  }

  function show() {
    const id = chat.model;
    if (id) {
      delete name.dataset.t;
      name.textContent = id;
    } else say(name, "noModel");
    dot.dataset.state = models.get(id)?.state ?? "unloaded";
    chat.refreshControls();
    choices.refresh();
  }

  button.addEventListener("click", () => models.refresh());
  models.addEventListener("changed", show);
  chat.addEventListener("shown", show);
  show();
  return choices.frame;
}
