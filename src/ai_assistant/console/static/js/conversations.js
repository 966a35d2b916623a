// The kept conversations: the list, and saves that survive a closed page or a refusing disk.

import { ApiError, call, json } from "./api.js";
import { newId, recall, remember } from "./prefs.js";

const BASE = "/console/conversations";
const OUTBOX = "outbox";
const KEEPALIVE_LIMIT = 60_000;
const queues = new Map();

export const saving = new EventTarget(); // "failed" with {message}, "saved"

export function blank(model) {
  return { id: newId(), title: "", model, settings: {}, messages: [], stored: false };
}

export async function list(query = "") {
  return json(query ? `${BASE}?q=${encodeURIComponent(query)}` : BASE);
}

export async function load(id) {
  return { ...(await json(`${BASE}/${encodeURIComponent(id)}`)), stored: true };
}

export const remove = (id) => call(`${BASE}/${id}`, { method: "DELETE" });
export const putBack = (whole) => call(`${BASE}/${whole.id}`, { method: "PUT", body: plain(whole) });
export const exportAll = () => call(`${BASE}/export`).then((response) => response.blob());

export async function change(conversation, changes) {
  Object.assign(conversation, changes);
  if (!conversation.stored) return;
  await queued(conversation.id, () =>
    call(`${BASE}/${conversation.id}`, { method: "PATCH", body: changes }));
}

// Saves go out one after another for each conversation; a failed one waits in this browser.
export function save(conversation, message, { replaces } = {}) {
  return queued(conversation.id, async () => {
    const { path, body } = order(conversation, message, replaces);
    try {
      await call(path, { method: "PUT", body });
      conversation.stored = true;
      drop(body.id);
      saving.dispatchEvent(new Event("saved"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 404) return;
      keep({ path, body });
      saving.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
  });
}

// The page is closing: keep the message here, and try once more to hand it over.
export function saveOnLeaving(conversation, message, replaces) {
  const { path, body } = order(conversation, message, replaces);
  keep({ path, body });
  if (JSON.stringify(body).length < KEEPALIVE_LIMIT) {
    call(path, { method: "PUT", body, keepalive: true }).catch(() => {});
  }
}

export async function flushOutbox() {
  for (const { path, body } of Object.values(outbox())) {
    try {
      await call(path, { method: "PUT", body });
      drop(body.id);
    } catch (error) {
      if (error.status === 404) drop(body.id);
    }
  }
}

function order(conversation, message, replaces) {
  if (!conversation.stored) {
    const before = conversation.messages.filter(({ id }) => id !== message.id);
    const whole = { ...conversation, messages: [...before, message] };
    return { path: `${BASE}/${conversation.id}`, body: plain(whole) };
  }
  const query = replaces ? `?replaces=${encodeURIComponent(replaces)}` : "";
  return { path: `${BASE}/${conversation.id}/messages/${message.id}${query}`, body: { ...message } };
}

function plain({ id, title, model, settings, messages, created_at, updated_at }) {
  return { id, title, model, settings, created_at, updated_at, messages };
}

function queued(id, task) {
  const next = (queues.get(id) ?? Promise.resolve()).then(task, task);
  queues.set(id, next.catch(() => {}));
  return next;
}

function outbox() {
  try {
    return JSON.parse(recall(OUTBOX, "{}"));
  } catch {
    return {};
  }
}

const keep = (order) => remember(OUTBOX, JSON.stringify({ ...outbox(), [order.body.id]: order }));

function drop(id) {
  const { [id]: done, ...rest } = outbox();
  if (done) remember(OUTBOX, Object.keys(rest).length ? JSON.stringify(rest) : null);
}
