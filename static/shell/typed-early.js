// Somebody may type before the page's scripts have come: whoever listens hears of it once they have.

document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("textarea, input:not([type=checkbox], [type=radio])")) {
    if (field.value === field.defaultValue) continue;
    field.dispatchEvent(new Event(field.type === "search" ? "search" : "input", { bubbles: true }));
  }
});
