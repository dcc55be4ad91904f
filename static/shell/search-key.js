// "/" puts the cursor into the page's search, unless the user is typing in a field.

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = document.querySelector("main input[type=search]");
  if (search === null) return;
  event.preventDefault();
  search.focus();
  search.select();
});
