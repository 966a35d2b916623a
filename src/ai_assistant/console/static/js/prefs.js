// What this browser remembers. A browser that refuses storage still works, it only forgets.

const PREFIX = "assistant.";

export function recall(name, fallback = null) {
  try {
    return localStorage.getItem(PREFIX + name) ?? fallback;
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    if (value === null || value === "") localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
    return true;
  } catch {
    return false;
  }
}

export function setTheme(theme) {
  remember("theme", theme === "auto" ? null : theme);
  document.documentElement.dataset.theme = theme;
}

// Also where the page is not a secure context, as on http://192.168.…
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
