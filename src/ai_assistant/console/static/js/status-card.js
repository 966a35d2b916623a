// One model and its engine on the status page.

import { h } from "./dom.js";
import { bytes, compact, number, rate } from "./format.js";
import { t } from "./i18n.js";
import { Sparkline } from "./sparkline.js";

export class ModelCard {
  constructor() {
    this.head = h("header", {});
    this.body = h("div", { class: "card-body" });
    this.sparks = { decode: new Sparkline(), prefill: new Sparkline() };
    this.element = h("article", { class: "card" }, this.head, this.body);
  }

  draw(entry) {
    this.element.dataset.state = entry.state;
    this.head.replaceChildren(...head(entry));
    this.body.replaceChildren(...[
      entry.state === "loading" && loading(entry),
      entry.error && h("p", { class: "notice error" }, entry.error),
      ...(entry.engine ? this.engine(entry.engine, entry) : []),
    ].filter(Boolean));
  }

  engine(engine, { restarts, model }) {
    this.sparks.decode.add(engine.decode_tokens_per_second);
    this.sparks.prefill.add(engine.prefill_tokens_per_second);
    return [
      h("div", { class: "speeds" },
        speed("decodeSpeed", engine.decode_tokens_per_second, this.sparks.decode),
        speed("prefillSpeed", engine.prefill_tokens_per_second, this.sparks.prefill)),
      slots(engine),
      cells(engine),
      prompts(engine),
      h("dl", { class: "small-facts" },
        fact("generated", number(engine.generated_tokens)),
        fact("perStep", [
          `${number(engine.decode_ms_mean, 2)} ms `, h("small", { t: "kernels" }),
          ` + ${number(engine.python_ms_mean, 2)} ms `, h("small", { t: "python" }),
        ]),
        fact("engineMemory", bytes(engine.memory_bytes)),
        fact("context", compact(engine.context_limit || model.context_train)),
        fact("threads", threads(engine)),
        fact("otherPrograms", `${number(engine.cores_busy, 1)} ${t("cores")}`),
        fact("keptInRam", bytes(engine.warm_bytes)),
        fact("keptOnDisk", bytes(engine.cold_bytes)),
        fact("preemptions", number(engine.preemptions)),
        engine.drafted_tokens > 0 && fact("guessedRight", guessed(engine)),
        fact("restarts", number(restarts))),
    ];
  }
}

function head({ model, state, default: byDefault }) {
  const facts = [
    model.architecture,
    `${compact(model.parameters)} ${t("parameters")}`,
    model.quantisation,
    bytes(model.size_bytes),
    model.embedding && t("embedding"),
  ];
  return [
    h("span", { class: "dot", data: { state } }),
    h("div", { class: "grow" },
      h("h2", {}, model.id, byDefault && h("span", { class: "tag", t: "defaultModel" })),
      h("p", { class: "muted" }, facts.filter(Boolean).join(" · "))),
    h("span", { class: "state", t: state }),
  ];
}

function loading({ model, progress, eta_seconds: eta }) {
  const percent = Math.round(progress * 100);
  return h("div", { class: "loading" },
    h("p", {}, `${t("loadingModel", { model: model.id, percent })} `,
      eta && h("span", { class: "muted", t: "loadingEta", tArgs: { seconds: number(Math.ceil(eta)) } })),
    stacked([["bar", progress]], `${percent} %`));
}

function speed(key, value, spark) {
  return h("div", { class: "speed" },
    h("h3", { t: key }),
    h("p", {}, h("strong", {}, rate(value)), " ", h("small", { t: "tokensPerSecond" })),
    spark.element);
}

function slots({ running, waiting, parked, slots: total }) {
  const dots = Array.from({ length: Math.min(total, 32) }, (_, index) =>
    h("i", { class: index < running ? "on" : "" }));
  return meter("slots",
    [["running", running], ["waitingRequests", waiting], ["parked", parked]],
    h("div", { class: "slots", "aria-hidden": "true" }, dots),
    t("ofSlots", { slots: total }));
}

function cells({ cells_used: used, cells_retained: retained, cells_total: total }) {
  const busy = used - retained;
  return meter("kvCache",
    [["used", busy], ["retained", retained], ["free", total - used]],
    stacked([["bar", busy / total], ["bar soft", retained / total]], `${number(used)} / ${number(total)}`));
}

// What was remembered, by where it was; tiers that gave nothing are not named.
function prompts({ prompt_tokens: prompt, cached_tokens: cached, warm_hit_tokens: ram, cold_hit_tokens: disk }) {
  const parts = [ // Word, tokens, kind of bar.
    ["cached", Math.max(0, cached - ram - disk), "bar soft"],
    ["fromRam", ram, "bar soft ram"],
    ["fromDisk", disk, "bar soft disk"],
    ["computed", prompt - cached, "bar"],
  ].filter(([key, count]) => count > 0 || key === "cached" || key === "computed");
  return meter("promptTokens",
    parts,
    stacked(parts.map(([, count, kind]) => [kind, prompt ? count / prompt : 0]), `${number(cached)} / ${number(prompt)}`));
}

function threads({ threads: single, threads_batch: batch }) {
  return !batch || batch === single
    ? number(single)
    : [`${number(single)} `, h("small", { t: "forPrompts", tArgs: { count: number(batch) } })];
}

const guessed = ({ accepted_tokens: right, drafted_tokens: all }) => `${number((100 * right) / all)} %`;

function meter(titleKey, values, picture, more = null) {
  return h("div", { class: "meter" },
    h("div", { class: "meter-head" }, h("h3", { t: titleKey }),
      h("ul", {}, values.map(([key, value]) =>
        h("li", { class: `key-${key}` }, h("strong", {}, number(value)), " ", h("span", { t: key }))),
      more && h("li", { class: "muted" }, more))),
    picture);
}

// Shares of one bar, left to right.
function stacked(shares, label) {
  return h("div", { class: "track", role: "img", "aria-label": label }, shares.map(([kind, share]) => {
    const part = h("div", { class: kind });
    part.style.width = `${Math.min(1, Math.max(0, share || 0)) * 100}%`;
    return part;
  }));
}

function fact(key, value) {
  return h("div", {}, h("dt", { t: key }), h("dd", {}, value));
}
