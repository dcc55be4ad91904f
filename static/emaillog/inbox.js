// The inbox: arrow keys open the email above or below, and new emails are asked for only while the page is looked at.

const rows = () => [...document.querySelectorAll(".inbox__row")];
const current = () => rows().findIndex((row) => row.getAttribute("aria-current") === "true");

rows()[current()]?.scrollIntoView({ block: "nearest" });

document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.closest("input, textarea, select, summary, .preview__text, .headers")) return;
  const target = rows()[current() < 0 ? 0 : current() + step];
  if (target === undefined) return;
  event.preventDefault();
  target.click();
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.target.matches(".inbox__poll")) event.preventDefault();
});
