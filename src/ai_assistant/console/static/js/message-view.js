// How one message looks once it is still.

import { copyButton } from "./clipboard.js";
import { colour } from "./code.js";
import { h } from "./dom.js";
import { number, plainError, rate, seconds } from "./format.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";

export function iconButton(name, label, onclick, more = "") {
  return h("button", { class: `icon-button ${more}`, type: "button", tLabel: label, onclick }, icon(name));
}

export function userMessage(message, { onEdit }) {
  const article = h("article", { class: "message user", data: { id: message.id } },
    h("h2", { class: "sr-only", t: "you" }),
    h("div", { class: "bubble" }, message.content),
    h("div", { class: "actions" },
      copyButton(() => message.content),
      onEdit && iconButton("pencil", "edit", () => edit(article, message, onEdit), "small")));
  return article;
}

export function assistantMessage(message, { onAgain }) {
  const body = h("div", { class: "prose" }, renderMarkdown(message.content));
  colour(body);
  return h("article", { class: "message assistant", data: { id: message.id, state: message.state } },
    h("h2", { class: "sr-only", t: "assistantSays" }),
    message.reasoning && reasoningBox(message.reasoning).box,
    body,
    message.tool_calls.map(toolCall),
    ...afterword(message, { onAgain }));
}

// What stands below an answer: marks, buttons and figures.
export function afterword(message, { onAgain }) {
  return [
    mark(message, onAgain),
    h("div", { class: "actions" },
      copyButton(() => message.content),
      onAgain && iconButton("refresh", "regenerate", onAgain, "small"),
      figures(message.details)),
  ];
}

export function reasoningBox(text = "") {
  const words = h("div", { class: "reasoning-text" }, text);
  const label = h("span", { t: "thought" });
  const box = h("details", { class: "reasoning" }, h("summary", {}, label), words);
  return { box, label, words };
}

export function errorBox(text, onRetry, label = "retry") {
  return h("div", { class: "notice error", role: "alert" },
    icon("warning"),
    h("p", {}, text),
    onRetry && h("button", { class: "button", type: "button", t: label, onclick: onRetry }));
}

export function toolCall({ name, arguments: given }) {
  return h("div", { class: "notice" }, h("p", {}, h("span", { t: "toolCall" }), ": ",
    h("code", {}, `${name}(${given})`)));
}

function mark(message, onRetry) {
  if (message.state === "failed") return errorBox(plainError(message.details.error ?? {}), onRetry);
  const key = { stopped: "stoppedMark", partial: "partialMark" }[message.state]
    ?? (message.details.finish === "length" ? "lengthMark" : null);
  return key && h("p", { class: "mark", t: key });
}

function figures({ usage, ttft_seconds: first, tokens_per_second: speed }) {
  if (!usage) return null;
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  return h("span", {
    class: "figures",
    title: t("cachedTokens", { cached: number(cached), prompt: number(usage.prompt_tokens) }),
  },
  Number.isFinite(first) && h("span", { t: "ttft", tArgs: { seconds: seconds(first) } }),
  speed && h("span", { t: "speed", tArgs: { speed: rate(speed) } }),
  h("span", { t: "tokens", tArgs: { count: number(usage.completion_tokens) } }));
}

function edit(article, message, onEdit) {
  const before = [...article.childNodes];
  const cancel = () => article.replaceChildren(...before);
  const area = h("textarea", { class: "edit-area", value: message.content, tLabel: "editMessage", rows: 3 });
  const send = () => area.value.trim() && onEdit(area.value.trim());
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    }
  });
  article.replaceChildren(area, h("div", { class: "edit-buttons" },
    h("button", { class: "button", type: "button", t: "cancel", onclick: cancel }),
    h("button", { class: "button primary", type: "button", t: "saveSend", onclick: send })));
  area.focus();
}
