// The bar above the log: how many emails are ticked, a tick for the whole page, and how many match the filters.

const form = document.getElementById("selection");
const ticks = [...document.querySelectorAll('input[name="number"]')];
const whole = document.querySelector("[data-tick-all]");
let counted = false;

async function count() {
  if (counted) return;
  counted = true;
  const answer = await fetch(form.dataset.count, { headers: { Accept: "text/plain" } });
  if (answer.ok) form.querySelector("[data-matching]").textContent = await answer.text();
}

function show() {
  const ticked = ticks.filter((tick) => tick.checked).length;
  form.querySelector("[data-selected]").textContent = ticked;
  if (whole) {
    whole.checked = ticked === ticks.length;
    whole.indeterminate = ticked > 0 && !whole.checked;
  }
  if (ticked) count();
}

if (form) {
  for (const tick of ticks) tick.addEventListener("change", show);
  if (whole) {
    whole.hidden = false;
    whole.addEventListener("change", () => {
      for (const tick of ticks) tick.checked = whole.checked;
      show();
    });
  }
  show();
}
