// Code blocks: a head with the language and a copy button; colours arrive when the block is whole.

import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";
import { sanitize } from "./markdown.js";

const TOO_LONG = 60_000;
let library = null;

export function decorateCode(pre) {
  const code = pre.querySelector("code");
  const language = /language-(\S+)/.exec(code?.className ?? "")?.[1] ?? "";
  const frame = h("div", { class: "code" },
    h("div", { class: "code-head" },
      h("span", {}, language),
      copyButton(() => pre.textContent.replace(/\n$/, ""), "copyCode")));
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  frame.append(pre);
}

export async function colour(root) {
  const blocks = [...root.querySelectorAll("pre > code[class^=language-]:not([data-coloured])")];
  for (const code of blocks) {
    code.dataset.coloured = "";
    const language = /language-(\S+)/.exec(code.className)[1];
    const text = code.textContent;
    if (text.length > TOO_LONG) continue;
    library ??= import("../vendor/highlight/highlight.min.js");
    const { default: highlighter } = await library;
    if (!highlighter.getLanguage(language)) continue;
    code.replaceChildren(sanitize(highlighter.highlight(text, { language }).value));
  }
}
