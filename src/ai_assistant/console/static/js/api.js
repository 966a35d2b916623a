// Requests to the node, with the key and with errors as one class.

import { recall } from "./prefs.js";

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = null, loading = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter, loading });
  }
}

let askForKey = async () => false;

// `ask(wrong)` shows the dialog and resolves to true once a key was given.
export function onKeyNeeded(ask) {
  let open = null;
  askForKey = (wrong) => (open ??= ask(wrong).finally(() => (open = null)));
}

export async function call(path, { method = "GET", body, headers: more, signal, keepalive } = {}) {
  for (;;) {
    const key = recall("key");
    const headers = body === undefined ? { ...more } : { "content-type": "application/json", ...more };
    if (key) headers.authorization = `Bearer ${key}`;
    const response = await send(path, {
      method, headers, signal, keepalive, credentials: "omit", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return response;
    if (response.status !== 401) throw await errorOf(response);
    if (recall("key") === key && !(await askForKey(Boolean(key)))) throw await errorOf(response);
  }
}

export async function json(path, options) {
  const response = await call(path, options);
  return response.status === 204 ? null : response.json();
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(String(error.message), { code: "network" });
  }
}

async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  return errorFrom(body.error, response.status, response.headers.get("retry-after"));
}

export function errorFrom(error = {}, status = 0, retryAfter = null) {
  return new ApiError(error.message || `HTTP ${status}`, {
    status,
    code: error.code ?? "",
    retryAfter: retryAfter === null ? null : Number(retryAfter) || 1,
    loading: error.loading ?? null,
  });
}
