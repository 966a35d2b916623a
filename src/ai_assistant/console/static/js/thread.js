// The messages of one conversation on the screen. Only what changed is drawn again.

import { h } from "./dom.js";
import { generationOf } from "./generation.js";
import { icon } from "./icons.js";
import { LiveMessage } from "./live-message.js";
import { assistantMessage, errorBox, userMessage } from "./message-view.js";
import { t } from "./i18n.js";

const NEAR_THE_END = 96;

export class Thread {
  // `actions`: {again(), edit(message, text)}
  constructor(actions) {
    this.actions = actions;
    this.list = h("div", { class: "messages", role: "log", "aria-live": "off", tLabel: "conversation" });
    this.scroller = h("div", { class: "scroller", tabIndex: -1 }, this.list);
    this.jump = h("button", {
      class: "jump", type: "button", tLabel: "toBottom", hidden: true, onclick: () => this.toEnd(),
    }, icon("arrowDown"));
    this.following = true;
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  show(conversation) {
    this.live?.detach();
    this.live = null;
    this.conversation = conversation;
    const generation = generationOf(conversation.id);
    const shown = conversation.messages.filter((message) => message !== generation?.message);
    this.list.replaceChildren(...shown.map((message, index) =>
      this.view(message, !generation && index === shown.length - 1)));
    if (generation) this.attach(generation);
    else if (shown.at(-1)?.role === "user") this.list.append(this.unanswered());
    this.toEnd();
  }

  view(message, last) {
    if (message.role === "user") {
      return userMessage(message, { onEdit: (text) => this.actions.edit(message, text) });
    }
    return assistantMessage(message, { onAgain: last && (() => this.actions.again()) });
  }

  attach(generation) {
    this.live = new LiveMessage(generation, {
      onAgain: () => this.actions.again(),
      onDrawn: () => this.follow(),
    });
    this.list.append(this.live.article);
  }

  unanswered() {
    return errorBox(t("unanswered"), () => this.actions.again(), "answerNow");
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    this.jump.hidden = this.following;
  }

  follow() {
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    this.following = true;
    this.jump.hidden = true;
    this.follow();
  }
}
