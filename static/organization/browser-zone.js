// Offers the browser's time zone where the profile has another.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const button = document.getElementById("browser-zone");
const field = document.querySelector("[name=time_zone]");
const isKnown = [...document.querySelectorAll("#time-zones option")].some((option) => option.value === zone);

if (button && isKnown && field.value !== zone) {
  button.querySelector("span").textContent = zone;
  button.hidden = false;
  button.addEventListener("click", () => {
    field.value = zone;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
    button.hidden = true;
  });
}
