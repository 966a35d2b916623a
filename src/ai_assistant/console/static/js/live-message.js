// The answer that is being written. It is drawn at the pace of the screen, whatever arrives.

import { announce, h, say } from "./dom.js";
import { plainError, seconds } from "./format.js";
import { t } from "./i18n.js";
import { LiveMarkdown } from "./live.js";
import { afterword, errorBox, reasoningBox, toolCall } from "./message-view.js";

export class LiveMessage {
  constructor(generation, { onAgain, onDrawn }) {
    this.generation = generation;
    this.onAgain = onAgain;
    this.onDrawn = onDrawn;
    this.prose = h("div", { class: "prose" });
    this.live = new LiveMarkdown(this.prose);
    this.waiting = waitingLine();
    this.article = h("article", {
      class: "message assistant streaming", "aria-busy": "true",
      data: { id: generation.message.id },
    }, h("h2", { class: "sr-only", t: "assistantSays" }), this.waiting.line, this.prose);
    this.schedule = () => (this.frame ??= requestAnimationFrame(() => this.draw()));
    this.changed = () => (generation.phase === "ended" ? this.finish() : this.schedule());
    generation.addEventListener("changed", this.changed);
    announce(t("answering"));
    this.draw();
  }

  // The view goes elsewhere; the answer goes on.
  detach() {
    this.generation.removeEventListener("changed", this.changed);
    cancelAnimationFrame(this.frame);
  }

  draw() {
    this.frame = null;
    const { phase, message } = this.generation;
    if (phase === "ended") return;
    this.waiting.show(this.generation);
    if (message.reasoning) this.drawReasoning(message);
    if (message.content && !this.live.update(message.content)) this.schedule();
    this.onDrawn();
  }

  drawReasoning(message) {
    if (!this.reasoning) {
      this.reasoning = reasoningBox();
      this.reasoning.box.open = true;
      this.prose.before(this.reasoning.box);
    }
    const { box, label, words } = this.reasoning;
    const grown = message.reasoning.slice(words.textContent.length);
    if (grown) words.append(grown);
    words.scrollTop = words.scrollHeight;
    const thinking = !message.content;
    say(label, thinking ? "thinking" : "thought");
    if (!thinking && !this.folded) {
      this.folded = true;
      box.open = false;
    }
  }

  finish() {
    const { message, error } = this.generation;
    this.detach();
    this.waiting.line.remove();
    if (message.reasoning) this.drawReasoning(message);
    if (this.reasoning) say(this.reasoning.label, "thought");
    this.live.finish(message.content);
    this.article.classList.remove("streaming");
    this.article.removeAttribute("aria-busy");
    this.article.dataset.state = message.state;
    if (this.generation.empty && error) {
      this.article.append(errorBox(plainError(error), this.onAgain));
    } else {
      this.article.append(...message.tool_calls.map(toolCall),
        ...afterword(message, { onAgain: this.onAgain }).filter(Boolean));
    }
    announce(t("answered"));
    this.onDrawn();
  }
}

// Three dots, or how far the model is with being loaded.
function waitingLine() {
  const bar = h("div", { class: "bar" });
  const track = h("div", { class: "track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const text = h("span", {});
  const eta = h("span", { class: "muted" });
  const dots = h("span", { class: "dots", role: "img", tLabel: "waiting" }, h("i"), h("i"), h("i"));
  const loading = h("div", { class: "loading", hidden: true }, h("p", {}, text, " ", eta), track);
  const line = h("div", { class: "waiting" }, dots, loading);
  return {
    line,
    show({ phase, model, loading: state }) {
      line.hidden = phase === "streaming";
      loading.hidden = phase !== "loading";
      dots.hidden = phase === "loading";
      if (phase !== "loading") return;
      const percent = Math.round((state.progress ?? 0) * 100);
      bar.style.width = `${percent}%`;
      track.setAttribute("aria-valuenow", percent);
      track.setAttribute("aria-label", t("loadingModel", { model, percent }));
      say(text, "loadingModel", { model, percent });
      eta.hidden = !state.eta_seconds;
      say(eta, "loadingEta", { seconds: seconds(Math.ceil(state.eta_seconds ?? 0)) });
    },
  };
}
