// The picture: cards above, processor and memory in the middle, disks below; lines with their speed.

import { h } from "./dom.js";
import { bytes, number } from "./format.js";
import { t } from "./i18n.js";

const MOST_CORES = 256;

export function picture({ cpu, memory, accelerators, disks }) {
  return h("div", { class: "machine-picture" },
    accelerators.length > 0 && h("div", { class: "machine-row" }, accelerators.map(card)),
    accelerators.length > 0 && line("down", alone(accelerators.map(({ speed: one }) => transfer(one)))),
    h("div", { class: "machine-row middle" },
      processor(cpu),
      line("across", speed(bestRead(memory))),
      memoryBox(memory)),
    disks.length > 0 && line("down", alone(disks.map(({ speed: one }) => reading(one)))),
    disks.length > 0 && h("div", { class: "machine-row" }, disks.map(disk)));
}

// Several lines would cross; then each box says its own speed.
const alone = (speeds) => (speeds.length === 1 ? speed(speeds[0]) : "");
const transfer = (measured) => measured?.to_device_pinned ?? measured?.to_device_pageable;
const reading = (measured) => measured?.parallel ?? measured?.sequential;

function box(kind, title, ...content) {
  return h("article", { class: `machine-box ${kind}` }, h("h2", {}, title), ...content);
}

function processor(cpu) {
  const squares = cpu.kinds.flatMap(({ kind, cores }) => Array(cores).fill(kind)).slice(0, MOST_CORES);
  const names = cpu.kinds.length > 1
    ? cpu.kinds.map(({ kind, cores }) => `${number(cores)} ${t(CORES[kind])}`).join(", ")
    : `${number(cpu.physical)} ${t("cores")}`;
  return box("processor", cpu.name,
    h("div", { class: "cores", role: "img", "aria-label": names }, squares.map((kind) => h("i", { class: kind }))),
    h("p", {}, `${names} · ${number(cpu.logical)} ${t("threadsLower")}`),
    cpu.quota_cores !== null && h("p", {}, t("quota", { cores: number(cpu.quota_cores, 1) })),
    small(cpu.instruction_sets?.slice(-4).join(" · ")));
}

const CORES = {
  performance: "performanceCores", efficiency: "efficiencyCores", "low-power": "lowPowerCores", all: "cores",
};

function memoryBox(memory) {
  return box("memory", t("memory"),
    bar(memory.free_bytes, memory.total_bytes),
    h("p", {}, free(memory.free_bytes, memory.total_bytes)),
    memory.limit_bytes !== null && small(t("limited", { size: bytes(memory.machine_bytes) })),
    memory.pressure?.some_60s > 1 && small(t("pressure", { percent: number(memory.pressure.some_60s, 1) })));
}

function card(one) {
  const measured = one.speed;
  const facts = [
    one.device,
    one.shares_memory && t("sharesMemory"),
    one.link_lanes && `PCIe ${one.link_generation}.0 ×${one.link_lanes}`,
  ];
  return box(one.device ? "card-box" : "card-box unused", one.name,
    one.memory_total_bytes && bar(one.memory_free_bytes, one.memory_total_bytes),
    one.memory_total_bytes && h("p", {}, free(one.memory_free_bytes, one.memory_total_bytes)),
    small(facts.filter(Boolean).join(" · ")),
    measured?.copy_bytes_per_second && small(`${t("ownMemory")} ${speed(measured.copy_bytes_per_second)}`),
    transfer(measured) && small(`${t("fromMain")} ${speed(transfer(measured))}`),
    !one.device && small(t("unusedCard")));
}

function disk(one) {
  const speeds = one.speed && [
    one.speed.sequential && `${t("oneReader")} ${speed(one.speed.sequential)}`,
    one.speed.parallel && `${t("readers", { count: one.speed.readers })} ${speed(one.speed.parallel)}`,
    one.speed.random_4k && `4 KiB ${speed(one.speed.random_4k)}`,
  ];
  return box("disk", one.model ?? one.device ?? one.mount ?? t("disk"),
    one.total_bytes !== null && bar(one.free_bytes, one.total_bytes),
    one.total_bytes !== null && h("p", {}, free(one.free_bytes, one.total_bytes)),
    small([t(DISKS[one.kind]), one.filesystem, one.mount].filter(Boolean).join(" · ")),
    speeds && small(speeds.filter(Boolean).join(" · ")));
}

const DISKS = {
  nvme: "diskNvme", ssd: "diskSsd", hdd: "diskHdd", card: "diskCard", network: "diskNetwork",
  memory: "diskMemory", unknown: "diskUnknown",
};

const bestRead = ({ read }) => Math.max(0, ...read.map((rate) => rate.bytes_per_second));

function speed(value) {
  if (!value) return "";
  return value >= 1e9 ? `${number(value / 1e9, value < 1e11 ? 1 : 0)} GB/s` : `${number(value / 1e6)} MB/s`;
}

const free = (left, total) => left === null ? bytes(total) : t("freeOf", { free: bytes(left), total: bytes(total) });

const small = (text) => text && h("p", { class: "muted" }, text);

const line = (way, label) => h("div", { class: `machine-line ${way}` }, h("span", {}, label));

function bar(left, total) {
  const part = h("div", { class: "bar" });
  part.style.width = `${left === null ? 0 : (1 - left / total) * 100}%`;
  return h("div", { class: "track", role: "img", "aria-label": free(left, total) }, part);
}
