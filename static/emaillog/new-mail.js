// #new-mail asks every few seconds for the number of new emails. It stops while the page is hidden, and announces each number once.

const place = document.getElementById("new-mail");

place?.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
place?.addEventListener("htmx:beforeSwap", (event) => {
  const link = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").querySelector(".new-mail__link");
  if ((link?.textContent ?? "").trim() === place.textContent.trim()) event.detail.shouldSwap = false;
});
