// The chat: what happens when someone sends, stops, asks again, edits or goes elsewhere.

import * as conversations from "./conversations.js";
import { composer } from "./composer.js";
import { h } from "./dom.js";
import { Generation, generationOf, generations } from "./generation.js";
import { t } from "./i18n.js";
import { plainError } from "./format.js";
import { models } from "./models.js";
import { errorBox } from "./message-view.js";
import { newId, remember } from "./prefs.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";
import { welcome } from "./welcome.js";

const TITLE_LENGTH = 60;

export class Chat extends EventTarget {
  constructor() {
    super();
    this.conversation = conversations.blank(models.preferred());
    this.open = new Map(); // conversations with an answer under way
    this.thread = new Thread({
      again: () => this.again(),
      edit: (message, text) => this.edit(message, text),
    });
    this.composer = composer({ onSend: (text) => this.send(text), onStop: () => this.stop() });
    this.welcome = welcome((text) => this.send(text));
    this.element = h("section", { class: "chat" },
      this.welcome.element, this.thread.scroller,
      h("div", { class: "dock" }, this.thread.jump, this.composer.element));
    generations.addEventListener("changed", () => this.refreshControls());
    conversations.saving.addEventListener("failed", ({ detail }) => this.savingFailed(detail));
    conversations.saving.addEventListener("saved", () => (this.warned = false));
    this.show(this.conversation);
  }

  get model() {
    return this.conversation.model || models.preferred();
  }

  startNew() {
    this.show(conversations.blank(models.preferred()));
    this.composer.focus();
  }

  async go(id) {
    if (id === this.conversation.id && this.conversation.stored) return;
    try {
      this.show(this.open.get(id) ?? (await conversations.load(id)));
    } catch (error) {
      this.show(conversations.blank(models.preferred()));
      const text = error.status === 404 ? t("errMissing") : plainError(error);
      this.thread.list.replaceChildren(errorBox(text, error.status === 404 ? null : () => this.go(id)));
      this.arrange(true);
    }
  }

  show(conversation) {
    this.conversation = conversation;
    this.thread.show(conversation);
    const begun = conversation.messages.length > 0;
    this.composer.open(begun ? conversation.id : "new");
    this.arrange(begun);
    this.refreshControls();
    this.dispatchEvent(new Event("shown"));
  }

  send(text) {
    if (generationOf(this.conversation.id) || !this.model) return;
    const { conversation } = this;
    const fresh = conversation.messages.length === 0;
    if (fresh) conversation.title = titleOf(text);
    conversation.model = this.model;
    const message = userMessage(text);
    conversation.messages.push(message);
    conversations.save(conversation, message).then(() => this.dispatchEvent(new Event("kept")));
    if (fresh) this.dispatchEvent(new Event("begun"));
    this.answer();
  }

  // A new answer to the last question; the old one stays until the new one begins.
  again() {
    const { conversation } = this;
    if (generationOf(conversation.id)) return;
    const last = conversation.messages.at(-1);
    if (last?.role === "assistant") conversation.messages.pop();
    this.answer(last?.role === "assistant" ? last : null);
  }

  edit(message, text) {
    const { conversation } = this;
    const from = conversation.messages.indexOf(message);
    if (from < 0 || generationOf(conversation.id)) return;
    const edited = userMessage(text);
    conversation.messages.splice(from, Infinity, edited);
    conversations.save(conversation, edited, { replaces: message.id });
    this.answer();
  }

  async answer(old = null) {
    const { conversation } = this;
    const generation = new Generation(conversation, this.model, old?.id);
    this.open.set(conversation.id, conversation);
    const run = generation.run();
    generation.addEventListener("changed", () => generation.phase === "loading" && models.refresh());
    this.show(conversation);
    await run;
    this.open.delete(conversation.id);
    if (!generation.empty) conversation.messages.push(generation.message);
    else if (old) {
      conversation.messages.push(old);
      this.giveBack(conversation, generation);
    }
    models.refresh();
    this.dispatchEvent(new Event("kept"));
  }

  // No new answer came: the old one is shown again, with the reason.
  giveBack(conversation, generation) {
    if (conversation !== this.conversation) return;
    this.thread.show(conversation);
    if (generation.error) {
      this.thread.list.append(errorBox(plainError(generation.error), () => this.again()));
      this.thread.toEnd();
    }
  }

  stop() {
    generationOf(this.conversation.id)?.stop();
  }

  setModel(model) {
    remember("model", model);
    conversations.change(this.conversation, { model }).catch((error) => this.savingFailed(error));
    this.refreshControls();
  }

  setSettings(settings) {
    conversations.change(this.conversation, { settings }).catch((error) => this.savingFailed(error));
  }

  refreshControls() {
    this.composer.busy(Boolean(generationOf(this.conversation.id)));
    const starter = this.model === "starter";
    this.composer.note(starter ? "starterShort" : "footnote");
    this.welcome.forModel(this.model);
  }

  arrange(talking) {
    this.welcome.element.hidden = talking;
    this.thread.scroller.hidden = !talking;
  }

  savingFailed({ message }) {
    if (this.warned) return;
    this.warned = true;
    toast(t("errSaving", { message }), { lasting: true });
  }
}

function userMessage(content) {
  return {
    id: newId(), role: "user", content, reasoning: "", tool_calls: [], model: "",
    state: "done", details: {}, created_at: Date.now() / 1000,
  };
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…` : line;
}
