// What every page does: one stream of news, copying, and a question before what cannot be undone.

const root = document.querySelector("main");
const lost = document.getElementById("lost");

/** Put pieces of HTML where they belong; whoever is typing or has text marked there is left in peace. */
function place(pieces) {
  for (const [id, html] of Object.entries(pieces)) {
    const target = document.getElementById(id);
    if (!target || target.contains(document.activeElement)) continue;
    const scrolled = target.querySelector("[data-keep-scroll]")?.scrollTop ?? 0;
    target.innerHTML = html;
    const inside = target.querySelector("[data-keep-scroll]");
    if (inside) inside.scrollTop = scrolled;
    window.htmx?.process(target);
  }
  document.dispatchEvent(new CustomEvent("news", { detail: pieces }));
}

document.querySelector(".bar [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

if (root?.dataset.live) {
  const source = new EventSource(root.dataset.live);
  source.onopen = () => (lost.hidden = true);
  source.onmessage = (message) => place(JSON.parse(message.data));
  source.onerror = () => (lost.hidden = false);
  source.addEventListener("gone", () => source.close());
  addEventListener("pagehide", () => source.close());
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const name = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = name), 1500);
});
