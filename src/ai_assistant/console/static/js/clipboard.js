// Copying, also where the page is not a secure context and has no clipboard API.

import { announce, h } from "./dom.js";
import { icon } from "./icons.js";
import { t, translate } from "./i18n.js";

export function copyButton(text, label = "copy") {
  const button = h("button", { class: "icon-button small", type: "button", tLabel: label }, icon("copy"));
  button.addEventListener("click", async () => {
    await copy(text());
    button.replaceChildren(icon("check"));
    announce(t("copied"));
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      translate(button);
    }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "sr-only", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
