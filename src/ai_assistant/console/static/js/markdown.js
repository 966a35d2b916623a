// Markdown to elements. Raw HTML is shown as text, images become links, and DOMPurify has the
// last word on all of it.

import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import { Marked } from "../vendor/marked/marked.esm.js";
import { decorateCode } from "./code.js";
import { h } from "./dom.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "a", "span",
    "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6",
    "table", "thead", "tbody", "tr", "th", "td",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ADD_URI_SAFE_ATTR: ["align", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const KNOWN_CLASS = /^(language|hljs)[\w+#. -]*$/;

DOMPurify.addHook("uponSanitizeAttribute", (node, attribute) => {
  if (attribute.attrName === "class" && !KNOWN_CLASS.test(attribute.attrValue)) {
    attribute.keepAttr = false;
  }
});

const escaped = (text) =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const parser = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

export const lex = (text) => parser.lexer(text);

export function renderTokens(tokens) {
  return finish(sanitize(parser.parser(tokens)));
}

export const renderMarkdown = (text) => renderTokens(lex(text));

export const sanitize = (html) => DOMPurify.sanitize(html, ALLOWED);

function finish(fragment) {
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table-frame", tabIndex: 0, role: "region" });
    table.replaceWith(frame);
    frame.append(table);
  }
  fragment.querySelectorAll("pre").forEach(decorateCode);
  return fragment;
}
