// A conversation with a model: what /v1/chat/completions streams, shown as it comes.

const form = document.getElementById("chat");
const talk = form.querySelector("[role=log]");
const said = [];
let going = null;

function show(role, text) {
  const message = document.createElement("div");
  message.className = `message ${role}`;
  message.textContent = text;
  talk.append(message);
  talk.scrollTop = talk.scrollHeight;
  return message;
}

/** The data lines of a stream of events, as objects. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}

/** Ask, and write the answer into a message that stands there already. */
async function ask(fields, message) {
  going = new AbortController();
  const answer = await fetch(form.dataset.action, {
    method: "POST",
    signal: going.signal,
    headers: { "Content-Type": "application/json", "X-CSRF": form.dataset.csrf },
    body: JSON.stringify({ model: fields.get("model"), messages: said, stream: true,
      temperature: Number(fields.get("temperature")), max_tokens: Number(fields.get("max_tokens")) }),
  });
  if (!answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    throw new Error(page.querySelector("main p")?.textContent ?? `the server answered ${answer.status}`);
  }
  for await (const event of events(answer.body)) {
    if (event.error) throw new Error(event.error.message);
    const text = event.choices?.[0]?.delta?.content;
    if (!text) continue;
    message.classList.remove("waiting");
    message.textContent += text;
    talk.scrollTop = talk.scrollHeight;
  }
  message.classList.remove("waiting");
  said.push({ role: "assistant", content: message.textContent });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (going) return;
  const fields = new FormData(form), text = fields.get("say").trim(), button = form.querySelector(".say button");
  if (!text) return;
  form.querySelector("[data-hint]")?.remove();
  form.elements.say.value = "";
  said.push({ role: "user", content: text });
  show("user", text);
  const message = show("assistant waiting", "");
  button.textContent = "Stop";
  try {
    await ask(fields, message);
  } catch (error) {
    if (message.classList.contains("waiting")) message.remove();
    // Nothing is left of a conversation that was cleared meanwhile.
    if (said.length) show("problem", error.name === "AbortError" ? "Stopped." : error.message);
    if (said.at(-1)?.role === "user") said.pop();
  }
  going = null;
  button.textContent = "Send";
});

form.querySelector(".say button").addEventListener("click", (event) => {
  if (!going) return;
  event.preventDefault();
  going.abort();
});

form.elements.say.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

form.querySelector("[data-clear]").addEventListener("click", () => {
  going?.abort();
  said.length = 0;
  talk.replaceChildren();
});
