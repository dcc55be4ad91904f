// Gives every password field a button that shows what was just typed. A stored password never reaches the page.

const template = document.getElementById("password-eye");

for (const input of template ? document.querySelectorAll('input[type="password"]') : []) {
  const group = document.createElement("span");
  group.className = "input-group";
  input.before(group);
  group.append(input, template.content.cloneNode(true));
  const button = group.querySelector("button");
  const [shown, hidden] = button.querySelectorAll("svg");
  button.setAttribute("aria-controls", input.id);
  button.addEventListener("click", () => {
    const reveal = input.type === "password";
    input.type = reveal ? "text" : "password";
    button.setAttribute("aria-pressed", String(reveal));
    shown.toggleAttribute("hidden", reveal);
    hidden.toggleAttribute("hidden", !reveal);
  });
  // Never leave it readable for a password manager's or the browser's form history.
  input.form?.addEventListener("submit", () => {
    input.type = "password";
  });
}
