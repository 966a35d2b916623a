// The machine page: a picture of what is here, and how fast it is where that was measured.

import { json } from "./api.js";
import { h, say } from "./dom.js";
import { number } from "./format.js";
import { t } from "./i18n.js";
import { picture } from "./machine-picture.js";
import { iconButton } from "./message-view.js";

const EVERY_MS = 5000;

export class MachinePage {
  constructor(onBack) {
    this.about = h("p", { class: "muted" });
    this.notice = h("p", { class: "notice error", role: "alert", hidden: true });
    this.body = h("div", { class: "machine" });
    this.element = h("section", { class: "status", hidden: true },
      h("div", { class: "status-inner" },
        h("header", { class: "status-head" },
          h("h1", { t: "machineTitle" }),
          iconButton("close", "back", onBack)),
        this.about, this.notice, this.body));
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
      this.last = await json("/console/machine");
      this.notice.hidden = true;
      this.draw(this.last);
    } catch (error) {
      this.notice.hidden = false;
      if (error.code === "network") say(this.notice, "statusLost");
      else say(this.notice, "statusForbidden", { message: error.message });
    }
    clearTimeout(this.timer);
    if (!this.element.hidden && document.visibilityState === "visible") {
      this.timer = setTimeout(() => this.poll(), EVERY_MS);
    }
  }

  draw(profile) {
    this.about.replaceChildren([profile.model, profile.system, profile.offers.kernel].filter(Boolean).join(" · "));
    this.body.replaceChildren(picture(profile), products(profile), measured(profile));
  }
}

function measured({ measured_at: when, disturbed }) {
  if (!when) return h("p", { class: "hint" }, h("span", { t: "notMeasured" }), " ", h("code", {}, "ai-assistant devices --measure"));
  const at = new Date(when).toLocaleString(document.documentElement.lang);
  return h("p", { class: "hint" }, t("measuredAt", { at }), disturbed && ` ${t("measuredBusy")}`);
}

// How fast matrix products are: the widest and the narrowest of each device.
function products({ cpu, accelerators }) {
  const devices = [["CPU", cpu.matrices],
    ...accelerators.filter((one) => one.speed).map((one) => [one.device, one.speed.matrices])];
  const rows = devices.flatMap(([device, rates]) => kinds(rates).map((kind) => row(device, kind, rates)));
  if (!rows.length) return "";
  return h("div", { class: "card" },
    h("h2", { t: "products" }),
    h("table", { class: "rates" },
      h("thead", {}, h("tr", {}, ["device", "weights", "oneToken", "manyTokens"].map((key) => h("th", { t: key, scope: "col" })))),
      h("tbody", {}, rows)));
}

const kinds = (rates) => [...new Set(rates.map((rate) => rate.weights))];

function row(device, kind, rates) {
  const most = Math.max(...rates.map((rate) => rate.threads));
  const own = rates.filter((rate) => rate.weights === kind && rate.threads === most);
  const single = own.find((rate) => rate.tokens === 1);
  const wide = Math.max(...own.filter((rate) => rate.tokens > 1).map(
    (rate) => (2 * rate.elements * rate.tokens) / rate.seconds));
  return h("tr", {}, h("td", {}, device), h("td", {}, kind),
    h("td", {}, single ? `${number(single.weight_bytes / single.seconds / 1e9, 1)} GB/s` : "–"),
    h("td", {}, wide > 0 ? `${number(wide / 1e9)} GFLOP/s` : "–"));
}
