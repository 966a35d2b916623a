// The settings of the conversation and of this browser, and the question for a key.

import { download } from "./clipboard.js";
import { exportAll } from "./conversations.js";
import { h } from "./dom.js";
import { languageChoice, setLanguage } from "./i18n.js";
import { plainError } from "./format.js";
import { icon } from "./icons.js";
import { recall, remember, setTheme } from "./prefs.js";
import { toast } from "./toast.js";

export function openSettings(chat) {
  const { settings } = chat.conversation;
  const system = h("textarea", { id: "system", rows: 4, value: settings.system ?? "", dir: "auto" });
  const temperature = numberField("temperature", settings.temperature, { min: 0, max: 2, step: 0.1 });
  const longest = numberField("max_tokens", settings.max_tokens, { min: 1, max: 1_000_000, step: 1 });
  const save = () => chat.setSettings(withoutEmpty({
    system: system.value.trim(),
    temperature: valueOf(temperature),
    max_tokens: valueOf(longest),
  }));
  const dialog = show("settings",
    h("fieldset", { onchange: save },
      h("legend", { t: "thisConversation" }),
      field("system", "systemPrompt", system, "systemHint"),
      h("div", { class: "pair" },
        field("temperature", "temperature", temperature, "temperatureHint"),
        field("max_tokens", "maxTokens", longest, "maxTokensHint"))),
    h("fieldset", {},
      h("legend", { t: "thisBrowser" }),
      choice("language", languageChoice(), [["auto", "auto"], ["en", "English"], ["zh", "中文"]], setLanguage),
      choice("theme", recall("theme", "auto"), [["auto", "auto"], ["light", "light"], ["dark", "dark"]], setTheme),
      h("div", { class: "row-buttons" },
        h("button", { class: "button", type: "button", t: "exportAll", onclick: exportEverything }),
        recall("key") && h("button", { class: "button", type: "button", t: "changeKey", onclick: () => {
          dialog.close();
          askForKey(false);
        } }))));
}

// Resolves to true once a key was given.
export function askForKey(wrong) {
  return new Promise((resolve) => {
    const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true, value: "" });
    const form = h("form", { method: "dialog", class: "key-form" },
      h("p", { class: "muted", t: "keyHint" }),
      wrong && h("p", { class: "wrong", role: "alert", t: "keyWrong" }),
      field("key", "apiKey", input),
      h("button", { class: "button primary", type: "submit", t: "keySave" }));
    const dialog = show("keyTitle", form);
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "key" && input.value.trim();
      if (given) remember("key", given);
      resolve(Boolean(given));
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close("key");
    });
    input.focus();
  });
}

async function exportEverything() {
  try {
    download(await exportAll(), "conversations.jsonl");
  } catch (error) {
    toast(plainError(error));
  }
}

function show(titleKey, ...content) {
  const close = h("button", { class: "icon-button", type: "button", tLabel: "done", onclick: () => dialog.close() }, icon("close"));
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
    h("header", {}, h("h1", { id: "dialog-title", t: titleKey }), close), ...content);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function field(id, labelKey, input, hintKey) {
  const hint = hintKey && h("p", { class: "hint", id: `${id}-hint`, t: hintKey });
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return h("div", { class: "field" }, h("label", { htmlFor: id, t: labelKey }), input, hint);
}

function numberField(id, value, limits) {
  return h("input", { id, type: "number", inputMode: "decimal", ...limits, value: value ?? "" });
}

function choice(name, current, options, onChoose) {
  const entry = ([value, label]) => h("label", {},
    h("input", { type: "radio", name, value, checked: value === current, onchange: () => onChoose(value) }),
    /^[a-z]+$/.test(label) ? h("span", { t: label }) : h("span", {}, label));
  return h("div", { class: "field inline", role: "radiogroup", tLabel: name },
    h("span", { class: "label", t: name }), h("div", { class: "segments" }, options.map(entry)));
}

const valueOf = (input) => (input.value !== "" && input.validity.valid ? Number(input.value) : "");

const withoutEmpty = (object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== ""));
