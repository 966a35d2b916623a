// The status page. It asks once a second, and only while someone looks.

import { json } from "./api.js";
import { h, say } from "./dom.js";
import { bytes, duration, number } from "./format.js";
import { t } from "./i18n.js";
import { iconButton } from "./message-view.js";
import { ModelCard } from "./status-card.js";

const EVERY_MS = 1000;

export class StatusPage {
  constructor(onBack) {
    this.cards = new Map();
    this.facts = h("dl", { class: "facts" });
    this.notice = h("p", { class: "notice error", role: "alert", hidden: true });
    this.models = h("div", { class: "cards" });
    this.element = h("section", { class: "status", hidden: true },
      h("div", { class: "status-inner" },
        h("header", { class: "status-head" },
          h("h1", { t: "statusTitle" }),
          iconButton("close", "back", onBack)),
        this.notice, this.facts, this.models));
    document.addEventListener("visibilitychange", () => this.wake());
    document.addEventListener("languagechanged", () => this.last && this.draw(this.last));
  }

  show(visible) {
    this.element.hidden = !visible;
    this.wake();
  }

  wake() {
    clearTimeout(this.timer);
    if (!this.element.hidden && document.visibilityState === "visible") this.poll();
  }

  async poll() {
    try {
      this.last = await json("/status");
      this.notice.hidden = true;
      this.element.classList.remove("stale");
      this.draw(this.last);
    } catch (error) {
      this.complain(error);
    }
    clearTimeout(this.timer);
    if (!this.element.hidden && document.visibilityState === "visible") {
      this.timer = setTimeout(() => this.poll(), EVERY_MS);
    }
  }

  complain(error) {
    this.notice.hidden = false;
    this.element.classList.add("stale");
    if (error.code === "network") say(this.notice, "statusLost");
    else say(this.notice, "statusForbidden", { message: error.message });
  }

  draw(status) {
    this.facts.replaceChildren(
      ...fact("version", status.version),
      ...fact("uptime", duration(status.uptime_seconds)),
      ...fact("memory", bytes(status.memory_bytes)),
      ...fact("process", String(status.pid)),
      ...power(status.power));
    const ids = status.models.map(({ model }) => model.id);
    for (const id of this.cards.keys()) if (!ids.includes(id)) this.cards.delete(id);
    for (const entry of status.models) this.card(entry.model.id).draw(entry);
    const cards = ids.map((id) => this.card(id).element);
    if (cards.some((card, index) => card !== this.models.children[index])) this.models.replaceChildren(...cards);
    if (!cards.length) this.models.replaceChildren(h("p", { class: "hint" }, t("noModels")));
  }

  card(id) {
    if (!this.cards.has(id)) this.cards.set(id, new ModelCard());
    return this.cards.get(id);
  }
}

// Power and heat: only what a sensor tells, or the owner has chosen.
function power(told) {
  if (!told) return [];
  const watts = told.watts == null ? [] : [`${number(told.watts, 1)} W`];
  const mode = told.mode === "max" ? [] : [told.mode];
  const slowed = told.slowed_by ? [t(told.slowed_by === "heat" ? "slowedByHeat" : "slowedByPower")] : [];
  const shown = [...mode, ...watts, ...slowed];
  return [
    ...(shown.length ? fact("power", shown.join(", ")) : []),
    ...(told.joules_per_token == null ? [] : fact("perToken", `${number(told.joules_per_token, 2)} J`)),
    ...(told.temperature == null ? [] : fact("heat", `${number(told.temperature, 0)} °C`))];
}

function fact(key, value) {
  return [h("div", {}, h("dt", { t: key }), h("dd", {}, value))];
}
