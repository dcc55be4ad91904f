// Dismisses flash messages, and has those that came with the page announced: a live region speaks only of what is added to it.

const region = document.querySelector(".flash-messages");

region?.addEventListener("click", (event) => {
  event.target.closest(".flash-message__dismiss")?.closest(".flash-message").remove();
});

if (region) {
  const flashMessages = [...region.children];
  region.replaceChildren();
  setTimeout(() => region.append(...flashMessages), 50);
}
