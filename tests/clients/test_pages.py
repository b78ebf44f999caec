"""The code of the pages for people who come from elsewhere, from top to bottom, with the SDKs that they bring."""

import json
from pathlib import Path

from clients.environments import python_of, run
from docs.pages import blocks, page
from server.running import RunningServer


def script(name: str, **changes: str) -> str:
    """The Python of a page as one file."""
    text = "\n".join(blocks(page(name), "python"))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def said(client: str, text: str, server: RunningServer, folder: Path) -> list[str]:
    """The lines that a script prints."""
    file = folder / "page.py"
    file.write_text(text, "utf-8")
    return run([str(python_of(client)), str(file)], server, folder, 400).splitlines()


def test_the_page_for_openai(server: RunningServer, tmp_path: Path) -> None:
    rows = [[("user", f"What is {a}+1?"), ("assistant", str(a + 1))] for a in range(20)]
    chats = [{"messages": [{"role": role, "content": text} for role, text in row]} for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    client = f"OpenAI(base_url={server.base_url + '/v1'!r}, api_key={server.key!r})"
    lines = said("openai", script("openai.md", **{"OpenAI()": client}), server, tmp_path)
    assert " CompletionUsage(completion_tokens=" in lines[0]
    assert lines[-2].startswith("succeeded sums")
    assert lines[-1] == "2.0"


def test_the_page_for_fireworks(server: RunningServer, tmp_path: Path) -> None:
    here = {"http://127.0.0.1:8000": server.base_url, "tml-...": server.key}
    lines = said("fireworks-managed", script("fireworks.md", **here), server, tmp_path)
    assert "8" in lines[0]
    assert [line for line in lines if line.startswith("step ")] == [f"step {i}: JOB_STATE_IDLE" for i in (1, 2)]
    assert "reward_mean" in lines[-1]
