// <form data-passkey="create|get">: asks the browser for a passkey before the form is sent, and sends its answer along.
// What is asked is in data-options. The answer goes into [name=passkey], and what went wrong into [data-passkey-error].

const words = {
  NotAllowedError: "No passkey was used. You cancelled, or it took too long. Try again.",
  InvalidStateError: "This device has a passkey of yours already.",
  SecurityError: "Passkeys don't work at this address. Open the portal at the address that its emails link to.",
};

async function answer(kind, options) {
  if (kind === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return navigator.credentials.create({ publicKey });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

function prepare(form) {
  const options = JSON.parse(form.dataset.options);
  const error = form.querySelector("[data-passkey-error]");
  const button = form.querySelector("[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    button.disabled = true; // one question at a time
    try {
      form.elements.passkey.value = JSON.stringify((await answer(form.dataset.passkey, options)).toJSON());
      form.submit();
    } catch (failure) {
      error.textContent = words[failure.name] ?? `The browser can't use a passkey: ${failure.message}`;
      button.disabled = false;
    }
  });
}

const forms = document.querySelectorAll("form[data-passkey]");

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  forms.forEach(prepare);
} else {
  for (const form of forms) {
    form.querySelector("[data-passkey-error]").textContent = "This browser can't use passkeys here. They need HTTPS.";
    form.querySelector("[type=submit]").disabled = true;
  }
}
