// Dropdowns (<details class="dropdown">) and the sidebar close on Escape and on a click outside.
// Opening them needs no script.

const sidebar = document.querySelector(".sidebar-toggle");

function close(dropdown, returnFocus) {
  dropdown.open = false;
  if (returnFocus) dropdown.querySelector("summary").focus();
}

document.addEventListener("click", (event) => {
  for (const dropdown of document.querySelectorAll(".dropdown[open]")) {
    if (!dropdown.contains(event.target)) close(dropdown, false);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const dropdown of document.querySelectorAll(".dropdown[open]")) {
    close(dropdown, dropdown.contains(document.activeElement));
  }
  if (sidebar && sidebar.checked) {
    sidebar.checked = false;
    sidebar.focus();
  }
});
