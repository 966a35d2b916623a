// One answer on its way: asks, waits for a loading model, collects, and saves as it goes.

import { ApiError, json } from "./api.js";
import { complete } from "./completion.js";
import { save, saveOnLeaving } from "./conversations.js";
import { newId } from "./prefs.js";

const SAVE_EVERY_MS = 1500;
const LOOK_AT_STATUS_MS = 1000;
const running = new Map();

export const generations = new EventTarget(); // "changed" when one begins or ends
export const generationOf = (id) => running.get(id);

export class Generation extends EventTarget {
  // `replaces`: the id of the answer whose place this one takes.
  constructor(conversation, model, replaces = null) {
    super();
    this.conversation = conversation;
    this.model = model;
    this.replaces = replaces;
    this.phase = "waiting"; // waiting, loading, streaming, ended
    this.loading = null; // {progress, eta_seconds}
    this.error = null;
    this.message = {
      id: newId(), role: "assistant", content: "", reasoning: "", tool_calls: [], model,
      state: "partial", details: {}, created_at: Date.now() / 1000,
    };
    this.abort = new AbortController();
  }

  async run() {
    running.set(this.conversation.id, this);
    generations.dispatchEvent(new Event("changed"));
    const leaving = () => this.empty ||
      saveOnLeaving(this.conversation, this.message, this.replaces);
    addEventListener("pagehide", leaving);
    const watch = setInterval(() => this.lookAtStatus(), LOOK_AT_STATUS_MS);
    try {
      await this.collect();
      this.message.state = "done";
    } catch (error) {
      this.fail(error);
    } finally {
      clearInterval(watch);
      removeEventListener("pagehide", leaving);
      this.end();
    }
  }

  stop() {
    this.abort.abort();
  }

  get empty() {
    const { content, reasoning, tool_calls } = this.message;
    return !content && !reasoning && !tool_calls.length;
  }

  async collect() {
    for (;;) {
      this.asked = performance.now();
      try {
        for await (const part of complete(this.request(), this.abort.signal)) this.take(part);
        return;
      } catch (error) {
        if (error.code !== "model_loading" || !this.empty) throw error;
        this.loading ??= { progress: error.loading?.progress };
        this.enter("loading");
        this.lookAtStatus();
        await pause((error.retryAfter ?? 2) * 1000, this.abort.signal);
      }
    }
  }

  request() {
    const { system, temperature, max_tokens } = this.conversation.settings;
    const messages = system ? [{ role: "system", content: system }] : [];
    for (const { role, content } of this.conversation.messages) {
      if (content) messages.push({ role, content });
    }
    return { model: this.model, messages, temperature, max_tokens, priority: "interactive" };
  }

  take({ text, reasoning, tools, finish, usage }) {
    const { message } = this;
    if (text || reasoning) this.clock();
    if (text) message.content += text.replaceAll("\r", "");
    if (reasoning) message.reasoning += reasoning;
    for (const piece of tools ?? []) addToolPiece(message.tool_calls, piece);
    if (finish) message.details.finish = finish;
    if (usage) this.measure(usage);
    this.enter("streaming");
    this.saveSometimes();
  }

  clock() {
    this.last = performance.now();
    this.first ??= this.last;
  }

  measure(usage) {
    const seconds = (this.last - this.first) / 1000;
    const more = usage.completion_tokens - 1;
    Object.assign(this.message.details, {
      usage,
      ttft_seconds: (this.first - this.asked) / 1000,
      tokens_per_second: more > 0 && seconds > 0.02 ? more / seconds : null,
    });
  }

  saveSometimes() {
    const now = performance.now();
    this.saved ??= now;
    if (now - this.saved < SAVE_EVERY_MS || this.empty) return;
    this.saved = now;
    this.saveNow();
  }

  saveNow() {
    const { replaces } = this;
    this.replaces = null;
    return save(this.conversation, structuredClone(this.message), { replaces });
  }

  fail(error) {
    if (error.name === "AbortError") {
      this.message.state = "stopped";
      return;
    }
    if (!(error instanceof ApiError)) console.error(error);
    this.error = { code: error.code ?? "", message: error.message, status: error.status ?? 0 };
    this.message.state = "failed";
    this.message.details.error = this.error;
  }

  end() {
    running.delete(this.conversation.id);
    if (!this.empty) this.saveNow();
    this.enter("ended");
    generations.dispatchEvent(new Event("changed"));
  }

  enter(phase) {
    this.phase = phase;
    this.dispatchEvent(new Event("changed"));
  }

  // A request may wait in the node while its model loads: the status says how far that is.
  async lookAtStatus() {
    if (this.phase !== "waiting" && this.phase !== "loading") return;
    const status = await json("/status", { signal: this.abort.signal }).catch(() => null);
    const found = status?.models.find(({ model }) => model.id === this.model);
    if (found?.state !== "loading" || this.phase === "streaming") return;
    this.loading = { progress: found.progress, eta_seconds: found.eta_seconds };
    this.enter("loading");
  }
}

function addToolPiece(calls, piece) {
  const call = (calls[piece.index] ??= { id: "", name: "", arguments: "" });
  call.id ||= piece.id ?? "";
  call.name ||= piece.function?.name ?? "";
  call.arguments += piece.function?.arguments ?? "";
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("", "AbortError"));
    });
  });
}
