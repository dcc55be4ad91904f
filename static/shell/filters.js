// <form data-autosubmit>: choosing a filter applies it. Empty and hidden fields stay out of the URL.
// The Apply button does the same without JavaScript. A custom time range isn't applied until it is entered.

for (const form of document.querySelectorAll("form[data-autosubmit]")) {
  const range = form.querySelector(".filters__range");
  form.addEventListener("change", (event) => {
    if (!event.target.matches("select")) return;
    if (event.target.value === "custom") range.querySelector("input").focus();
    else form.requestSubmit();
  });
  form.addEventListener("formdata", ({ formData }) => {
    const custom = formData.get("since") === "custom";
    for (const [name, value] of [...formData]) {
      if (value === "" || (!custom && range?.querySelector(`[name="${name}"]`))) formData.delete(name);
    }
  });
}
