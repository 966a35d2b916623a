// Markdown that grows: blocks that are whole are rendered once, only the last one again and again.

import { colour } from "./code.js";
import { h } from "./dom.js";
import { lex, renderMarkdown, renderTokens } from "./markdown.js";

const REFERENCES = /^ {0,3}\[[^\]]+\]:/m;
// A frame's cost is allowed this share of the time: long blocks are drawn less often.
const SHARE = 4;

export class LiveMarkdown {
  constructor(root) {
    this.root = root;
    this.tail = h("div", { class: "tail" });
    this.done = 0; // characters in whole blocks
    this.shown = 0;
    this.next = 0; // time before which nothing is drawn
    root.replaceChildren(this.tail);
  }

  // Returns whether it drew; false: ask again in a later frame.
  update(text) {
    if (text.length === this.shown) return true;
    const begin = performance.now();
    if (begin < this.next) return false;
    this.draw(text);
    this.next = begin + (performance.now() - begin) * SHARE;
    return true;
  }

  finish(text) {
    if (REFERENCES.test(text)) this.root.replaceChildren(renderMarkdown(text));
    else {
      this.draw(text);
      this.tail.replaceWith(...this.tail.childNodes);
    }
    colour(this.root);
  }

  draw(text) {
    const tokens = lex(text.slice(this.done));
    const last = tokens.findLastIndex((token) => token.type !== "space");
    const whole = tokens.slice(0, Math.max(0, last));
    if (whole.length) {
      whole.links = {};
      const fragment = renderTokens(whole);
      this.tail.before(fragment);
      this.done += whole.reduce((length, token) => length + token.raw.length, 0);
      colour(this.root);
    }
    this.drawTail(tokens.slice(Math.max(0, last)));
    this.shown = text.length;
  }

  // Code that grows keeps its element, so that a selection and the scroll place stay.
  drawTail(tokens) {
    const code = this.tail.querySelector(":scope > .code code");
    const [token] = tokens;
    if (code && token?.type === "code" && this.language === token.lang) {
      code.textContent = token.text;
      return;
    }
    this.language = token?.lang;
    tokens.links = {};
    this.tail.replaceChildren(renderTokens(tokens));
  }
}
