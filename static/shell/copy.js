// <button data-copy="id">: copies the text of the element with that id and says so. Also those that htmx brings in later.

function prepare(button) {
  button.hidden = false;
  const words = button.querySelector("[data-copy-words]");
  const before = words.textContent;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      words.textContent = "Copied";
    } catch {
      // Without HTTPS there is no clipboard for scripts: mark the text, so that Ctrl+C takes it.
      getSelection().selectAllChildren(source);
      words.textContent = "Press Ctrl+C";
    }
    setTimeout(() => {
      words.textContent = before;
    }, 3000);
  });
}

const prepareAll = (root) => root.querySelectorAll("button[data-copy][hidden]").forEach(prepare);

prepareAll(document);
document.addEventListener("htmx:load", (event) => prepareAll(event.target));
