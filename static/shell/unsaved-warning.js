// Warns before leaving a form that was changed: <form data-warn-unsaved>, with data-unsaved if it came back unsaved.
// Cancel says already that the changes go.

for (const form of document.querySelectorAll("form[data-warn-unsaved]")) {
  let unsaved = form.hasAttribute("data-unsaved");
  const changed = () => {
    unsaved = true;
  };
  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  form.addEventListener("submit", () => {
    unsaved = false;
  });
  document.querySelector("[data-cancel]")?.addEventListener("click", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) unsaved = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
}
