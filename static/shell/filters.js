// <form data-autosubmit>: choosing a filter applies it. Empty and hidden fields stay out of the URL.
// The Apply button does the same without JavaScript. A time range with a beginning to enter isn't applied until then.

const FIELDS = { custom: ["start", "end"], since: ["start"] };

for (const form of document.querySelectorAll("form[data-autosubmit]")) {
  const range = form.querySelector(".filters__range");
  form.addEventListener("change", (event) => {
    if (!event.target.matches("select")) return;
    if (event.target.name === "range" && event.target.value in FIELDS) range.querySelector("input").focus();
    else form.requestSubmit();
  });
  form.addEventListener("formdata", ({ formData }) => {
    const entered = FIELDS[formData.get("range")] ?? [];
    for (const [name, value] of [...formData]) {
      if (value === "" || (range?.querySelector(`[name="${name}"]`) && !entered.includes(name))) formData.delete(name);
    }
  });
}
