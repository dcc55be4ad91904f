// Warns before leaving a form that was changed: <form data-warn-unsaved>, with data-unsaved if it came back unsaved.

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
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
}
