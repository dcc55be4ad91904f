// A user may type before the page's scripts are loaded. Then the listeners get the event once they are loaded.

document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("textarea, input:not([type=checkbox], [type=radio])")) {
    if (field.value === field.defaultValue) continue;
    field.dispatchEvent(new Event(field.type === "search" ? "search" : "input", { bubbles: true }));
  }
});
