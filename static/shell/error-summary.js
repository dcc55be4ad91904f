// A form that came back with errors puts the focus on their summary, so that it is read out first.

document.querySelector(".error-summary")?.focus();
