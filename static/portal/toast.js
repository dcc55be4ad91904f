// Dismisses toasts, and has those that came with the page announced: a live region speaks only of what is added to it.

const region = document.querySelector(".toasts");

region?.addEventListener("click", (event) => {
  event.target.closest(".toast__dismiss")?.closest(".toast").remove();
});

if (region) {
  const toasts = [...region.children];
  region.replaceChildren();
  setTimeout(() => region.append(...toasts), 50);
}
