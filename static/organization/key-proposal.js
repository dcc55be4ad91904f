// Proposes a key made from the name, as the server does for an empty key, until the key is typed.

const form = document.querySelector("form:has([name=name]):has([name=key])");
const key = form?.elements.key;
let isTyped = Boolean(key?.value);

const keyOf = (name) =>
  name
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 40)
    .replace(/^-|-$/g, "");

form?.addEventListener("input", (event) => {
  if (event.target === key) isTyped = key.value !== "";
  if (event.target === form.elements.name && !isTyped) key.value = keyOf(event.target.value);
});
