// Runs before the first paint, so that no page flashes in the wrong colours.
(() => {
  const root = document.documentElement;
  const read = (name) => {
    try { return localStorage.getItem(name) ?? "auto"; } catch { return "auto"; }
  };
  root.dataset.theme = read("assistant.theme");
  const language = read("assistant.language");
  const chinese = (language === "auto" ? navigator.language : language).startsWith("zh");
  root.lang = chinese ? "zh-CN" : "en";
})();
