// The models that can be asked, and how each of them is.

import { json } from "./api.js";
import { recall } from "./prefs.js";

const WATCH_MS = 2000;

class Models extends EventTarget {
  list = []; // [{id, state, progress, default, info}]

  get(id) {
    return this.list.find((model) => model.id === id);
  }

  // What was chosen last, else the node's default, else any.
  preferred() {
    const chosen = this.get(recall("model", ""));
    return (chosen ?? this.list.find((model) => model.default) ?? this.list[0])?.id ?? "";
  }

  async refresh() {
    const [named, status] = await Promise.all([
      json("/v1/models"), json("/status").catch(() => ({ models: [] })),
    ]).catch(() => [null]);
    if (!named) return;
    const known = new Map(status.models.map((entry) => [entry.model.id, entry]));
    this.list = named.data
      .map(({ id }) => ({ id, entry: known.get(id) }))
      .filter(({ entry }) => !entry?.model.embedding)
      .map(({ id, entry }) => ({
        id, state: entry?.state ?? "ready", progress: entry?.progress ?? 0,
        default: entry?.default ?? false, info: entry?.model,
      }));
    this.dispatchEvent(new Event("changed"));
    this.watch();
  }

  // A model that loads will be ready soon.
  watch() {
    clearTimeout(this.timer);
    if (document.visibilityState === "visible" && this.list.some(({ state }) => state === "loading")) {
      this.timer = setTimeout(() => this.refresh(), WATCH_MS);
    }
  }
}

export const models = new Models();
