// Numbers, times and sizes as people read them.

import { isChinese, t } from "./i18n.js";

const locale = () => (isChinese() ? "zh-CN" : "en");

export function number(value, digits = 0) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
}

export const compact = (value) =>
  new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);

export function rate(value) {
  return number(value, value < 10 ? 1 : 0);
}

export function seconds(value) {
  return number(value, value < 10 ? (value < 1 ? 2 : 1) : 0);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10));
  return `${number(value / 1024 ** step, step > 2 ? 1 : 0)} ${units[step]}`;
}

export function duration(total) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const from = parts.findIndex(([size]) => total >= size);
  if (from < 0) return "0 s";
  return parts.slice(from, from + 2)
    .map(([size, unit], index) => {
      const left = index ? total % parts[from][0] : total;
      return `${Math.floor(left / size)} ${unit}`;
    })
    .join(" ");
}

// The heading under which a conversation of that time is listed.
export function ageGroup(timestamp) {
  const midnight = new Date().setHours(0, 0, 0, 0) / 1000;
  if (timestamp >= midnight) return "today";
  if (timestamp >= midnight - 86400) return "yesterday";
  return timestamp >= midnight - 6 * 86400 ? "week" : "older";
}

// An error in the words of the person who reads it.
export function plainError({ code, message, status }) {
  if (code === "network") return t("errNetwork");
  if (code === "connection_lost") return t("errLost");
  if (code === "model_load_failed") return t("errFailedModel", { message });
  return t("errServer", { message: message || `HTTP ${status}` });
}
