// In the test list's form, Enter searches while in the search field and saves in every other one-line field.
// Without JavaScript it always searches, which changes nothing that is stored.

const form = document.getElementById("test-list-form");

form?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches('input:not([type="checkbox"])')) return;
  event.preventDefault();
  if (event.target.name === "find") {
    event.target.dispatchEvent(new Event("search", { bubbles: true }));
  } else {
    form.requestSubmit(document.getElementById("save"));
  }
});
