// The list of conversations: search, open, rename, delete and undo.

import * as conversations from "./conversations.js";
import { download } from "./clipboard.js";
import { h } from "./dom.js";
import { ageGroup } from "./format.js";
import { generationOf, generations } from "./generation.js";
import { t } from "./i18n.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { toast } from "./toast.js";

const TYPING_MS = 200;

export class Sidebar {
  constructor({ chat, onNew, onSettings, onClose }) {
    this.chat = chat;
    this.onNew = onNew;
    this.list = h("nav", { class: "list", tLabel: "conversations" });
    this.query = h("input", { type: "search", tPlaceholder: "search", tLabel: "search", oninput: () => this.typed() });
    this.element = h("aside", { class: "sidebar", id: "sidebar" },
      h("div", { class: "brand" },
        h("img", { src: "/console/static/icon.svg", alt: "", width: 26, height: 26 }),
        h("span", { t: "appName" }),
        h("button", { class: "icon-button", type: "button", tLabel: "closeSidebar", onclick: onClose }, icon("menu"))),
      h("button", { class: "new-chat", type: "button", onclick: onNew }, icon("plus"), h("span", { t: "newChat" })),
      h("label", { class: "search" }, icon("search"), this.query),
      this.list,
      h("div", { class: "foot" },
        h("a", { class: "foot-link", href: "#/status" }, icon("pulse"), h("span", { t: "status" })),
        h("a", { class: "foot-link", href: "#/machine" }, icon("chip"), h("span", { t: "machine" })),
        h("button", { class: "foot-link", type: "button", onclick: onSettings }, icon("sliders"), h("span", { t: "settings" }))));
    for (const news of ["kept", "begun"]) chat.addEventListener(news, () => this.refresh());
    chat.addEventListener("shown", () => this.mark());
    generations.addEventListener("changed", () => this.mark());
    document.addEventListener("languagechanged", () => this.draw());
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), TYPING_MS);
  }

  async refresh() {
    const query = this.query.value.trim();
    try {
      const { conversations: found, notice } = await conversations.list(query);
      if (query !== this.query.value.trim()) return;
      this.found = found;
      this.problem = null;
      if (notice && notice !== this.notice) toast(notice, { lasting: true });
      this.notice = notice;
    } catch (error) {
      this.problem = error;
    }
    this.draw();
  }

  draw() {
    if (this.problem) {
      this.list.replaceChildren(h("p", { class: "hint" }, t("errList", { message: this.problem.message })));
      return;
    }
    if (!this.found?.length) {
      const key = this.query.value.trim() ? "nothingFound" : "noConversations";
      this.list.replaceChildren(h("p", { class: "hint", t: key }));
      return;
    }
    const groups = Map.groupBy(this.found, (line) => ageGroup(line.updated_at));
    this.list.replaceChildren(...[...groups].map(([age, lines]) =>
      h("section", {}, h("h2", { t: age }), h("ul", {}, lines.map((line) => this.row(line))))));
    this.mark();
  }

  row(line) {
    const title = line.title || t("untitled");
    const more = h("button", { class: "icon-button small", type: "button", tLabel: "more", tArgs: { title } }, icon("more"));
    const item = (key, name, act) => (close) => h("button", {
      class: "menu-item", type: "button", role: "menuitem",
      onclick: () => {
        close();
        act();
      },
    }, icon(name), h("span", { t: key }));
    const items = [
      item("rename", "pencil", () => this.rename(row, line)),
      item("exportOne", "download", () => this.export(line)),
      item("delete", "trash", () => this.delete(line)),
    ];
    const row = h("li", { data: { id: line.id } },
      h("a", { href: `#/c/${line.id}`, class: "row" }, h("span", { class: "row-title" }, title)),
      menu(more, (close) => items.map((make) => make(close))).frame);
    return row;
  }

  mark() {
    for (const row of this.list.querySelectorAll("li")) {
      const here = row.dataset.id === this.chat.conversation.id;
      row.classList.toggle("current", here);
      row.classList.toggle("running", Boolean(generationOf(row.dataset.id)));
      const link = row.querySelector("a");
      if (here) link?.setAttribute("aria-current", "page");
      else link?.removeAttribute("aria-current");
    }
  }

  rename(row, line) {
    const input = h("input", { class: "rename", value: line.title, tLabel: "title", maxLength: 200 });
    let done = false;
    const finish = async (keep) => {
      if (done) return;
      done = true;
      const title = input.value.trim();
      if (keep && title && title !== line.title) await this.giveTitle(line, title);
      this.draw();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") finish(true);
      else if (event.key === "Escape") finish(false);
      else return;
      event.stopPropagation();
    });
    input.addEventListener("blur", () => finish(true));
    row.replaceChildren(input);
    input.select();
  }

  async giveTitle(line, title) {
    const here = this.chat.conversation;
    const target = here.id === line.id ? here : { id: line.id, stored: true };
    try {
      await conversations.change(target, { title });
      line.title = title;
    } catch (error) {
      toast(t("errSaving", { message: error.message }));
    }
  }

  async export(line) {
    const { stored, ...whole } = await conversations.load(line.id);
    const blob = new Blob([JSON.stringify(whole, null, 2)], { type: "application/json" });
    download(blob, `${line.title.replace(/[^\p{L}\p{N}]+/gu, "-") || "conversation"}.json`);
  }

  async delete(line) {
    try {
      generationOf(line.id)?.stop();
      const whole = await conversations.load(line.id);
      await conversations.remove(line.id);
      if (this.chat.conversation.id === line.id) this.onNew();
      toast(t("deleted", { title: line.title || t("untitled") }), {
        action: "undo", onAction: () => this.undo(whole),
      });
    } catch (error) {
      toast(t("errSaving", { message: error.message }));
    }
    this.refresh();
  }

  async undo(whole) {
    await conversations.putBack(whole).catch((error) => toast(t("errSaving", { message: error.message })));
    this.refresh();
    location.hash = `#/c/${whole.id}`;
  }
}
