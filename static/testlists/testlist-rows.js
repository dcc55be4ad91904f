// A row's Remove and Undo change the page. Without JavaScript they post the form, which stores nothing either.
//
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

form?.addEventListener("click", (event) => {
  const button = event.target.closest('[name="remove"], [name="put_back"]');
  if (button === null) return;
  event.preventDefault();
  const row = button.closest("tr");
  const keep = row.querySelector('[name="keep"]');
  const other = row.querySelector(button.name === "remove" ? '[name="put_back"]' : '[name="remove"]');
  keep.disabled = button.name === "remove";
  row.classList.toggle("struck", keep.disabled);
  other.hidden = false;
  other.focus();
  button.hidden = true;
  keep.dispatchEvent(new Event("change", { bubbles: true }));
});
