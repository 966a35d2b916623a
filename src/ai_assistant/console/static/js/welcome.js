// The empty conversation: a greeting, three things to try, and the truth about the small model.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";

export function welcome(onPrompt) {
  const note = h("aside", { class: "ember", hidden: true },
    icon("flame"),
    h("div", {},
      h("h2", { t: "starterTitle" }),
      h("p", {}, h("span", { t: "starterNote" }), " ",
        h("code", {}, "ai-assistant serve --model PATH.gguf"))));
  const element = h("div", { class: "welcome" },
    h("div", { class: "welcome-inner" },
      h("h1", { t: "greeting" }),
      h("p", { class: "muted", t: "greetingMore" }),
      h("div", { class: "prompts" }, ["prompt1", "prompt2", "prompt3"].map((key) =>
        h("button", { class: "prompt", type: "button", t: key, onclick: () => onPrompt(t(key)) }))),
      note));
  return { element, forModel: (model) => (note.hidden = model !== "starter") };
}
