// Puts the rooms of the page together, and follows the address and the keyboard.

import { onKeyNeeded } from "./api.js";
import { Chat } from "./chat.js";
import { flushOutbox } from "./conversations.js";
import { askForKey, openSettings } from "./dialogs.js";
import { h } from "./dom.js";
import { languageChoice, setLanguage, t } from "./i18n.js";
import { icon } from "./icons.js";
import { MachinePage } from "./machine.js";
import { modelPicker } from "./model-picker.js";
import { models } from "./models.js";
import { recall, remember } from "./prefs.js";
import { Sidebar } from "./sidebar.js";
import { StatusPage } from "./status.js";

const narrow = matchMedia("(max-width: 820px)");

setLanguage(languageChoice());
onKeyNeeded(askForKey);

const chat = new Chat();
const pages = { status: new StatusPage(leavePage), machine: new MachinePage(leavePage) };
const sidebar = new Sidebar({
  chat,
  onNew: startNew,
  onSettings: () => openSettings(chat),
  onClose: () => showSidebar(false),
});
const app = document.getElementById("app");
const opener = button("menu", "openSidebar", () => showSidebar(true), "opener");
const main = h("main", {},
  h("header", { class: "top" },
    opener,
    modelPicker(chat),
    h("span", { class: "grow" }),
    button("sliders", "settings", () => openSettings(chat)),
    button("plus", "newChat", startNew, "new-small")),
  chat.element, ...Object.values(pages).map(({ element }) => element));
app.append(sidebar.element, h("div", { class: "veil", onclick: () => showSidebar(false) }), main);

function button(name, label, onclick, more = "") {
  return h("button", { class: `icon-button ${more}`, type: "button", tLabel: label, onclick }, icon(name));
}

// On a phone the sidebar is a drawer over the page, else a column that may be folded away.
function showSidebar(open) {
  app.classList.toggle("sidebar-open", open);
  sidebar.element.inert = !open;
  main.inert = open && narrow.matches;
  opener.setAttribute("aria-expanded", String(open));
  if (!narrow.matches) remember("sidebar", open ? null : "closed");
}

function layOut() {
  showSidebar(!narrow.matches && recall("sidebar") !== "closed");
}

function startNew() {
  if (location.hash) history.pushState(null, "", location.pathname);
  route();
  chat.startNew();
}

function nameWindow() {
  const { title } = chat.conversation;
  document.title = title ? `${title} · ${t("appName")}` : t("appName");
}

function leavePage() {
  const { id, stored } = chat.conversation;
  history.pushState(null, "", stored ? `#/c/${id}` : location.pathname);
  route();
}

function route() {
  const [, page, id] = location.hash.split("/");
  const looking = page in pages;
  for (const [name, other] of Object.entries(pages)) other.show(name === page);
  chat.element.hidden = looking;
  app.classList.toggle("looking", looking);
  app.dataset.page = looking ? page : "";
  if (narrow.matches) showSidebar(false);
  if (page === "c" && id) chat.go(id);
}

addEventListener("hashchange", () => {
  route();
  if (!location.hash) chat.startNew();
});
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    startNew();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (narrow.matches && app.classList.contains("sidebar-open")) showSidebar(false);
    else chat.stop();
  }
});
narrow.addEventListener("change", layOut);
sidebar.element.addEventListener("click", (event) => {
  if (narrow.matches && event.target.closest("a")) showSidebar(false);
});
chat.addEventListener("begun", () => {
  history.replaceState(null, "", `#/c/${chat.conversation.id}`);
});
chat.addEventListener("shown", nameWindow);
document.addEventListener("languagechanged", nameWindow);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") sidebar.refresh();
});
addEventListener("pageshow", () => models.refresh());

layOut();
if (!narrow.matches) chat.composer.focus(); // first: who types at once must not type into nothing
await flushOutbox();
route();
sidebar.refresh();
