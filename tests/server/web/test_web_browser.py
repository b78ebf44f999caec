"""As a new user: from the printed link through a job to a chat, in a real browser, without a word of documentation."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from server.running import RunningServer
from server.web.browser import Browser, browser, skip_without_browser
from services.made_runs import decode, group, judged

from tunesmith.services.demo_rows import demo_rows
from tunesmith.services.run_folder import RunFolder

pytestmark = pytest.mark.thorough
JOB = "/dashboard/fine-tuning/reinforcement/carry"
EVALUATION = "/dashboard/evaluations/after"
SETTINGS = {
    "chunk_size": "8",
    "epochs": "2",
    "response_candidates_count": "4",
    "max_tokens": "24",
    "temperature": "1.0",
}
MOST_ANSWER_MS = 400
"""Until such a page answers a key or a press with a picture; under 50 on an idle machine."""
MOST_MS = 4000
"""Until the first content of very large pages; under 1000 on an idle machine."""
PAGES = (
    "/dashboard/fine-tuning",
    JOB,
    f"{JOB}/curves/reward",
    f"{JOB}/rollouts",
    "/dashboard/create",
    "/dashboard/create/data?kind=rft&dataset=sums",
    "/dashboard/create/grader?kind=rft&dataset=sums&evaluator=contains",
    "/dashboard/create/settings?kind=rft&dataset=sums&evaluator=contains&learning_rate=9",
    "/dashboard/create/plan?kind=rft&dataset=sums&evaluator=contains&learning_rate=9",
    "/dashboard/create/plan?kind=rft&dataset=sums&evaluator=contains",
    "/dashboard/create/evaluator?kind=rft&dataset=sums",
    f"{JOB}/regrade?errand=gone",
    f"{JOB}/fork",
    "/dashboard/evaluations",
    "/dashboard/create/evaluation",
    EVALUATION,
    "/dashboard/datasets",
    "/dashboard/datasets/sums",
    "/dashboard/datasets/broken",
    "/dashboard/evaluators",
    "/dashboard/models",
    "/dashboard/chat",
    "/dashboard/deployments",
    "/dashboard/keys",
    "/dashboard/secrets",
    "/dashboard/compare",
    "/dashboard/nothing-here",
)


@pytest.fixture(scope="module")
def window(server: RunningServer) -> Iterator[Browser]:
    skip_without_browser()
    with browser(server.base_url) as opened:
        link = re.search(r"http\S+/dashboard/login\?token=\S+", server.log())
        assert link, server.log()
        opened.open(link[0])
        opened.says("No jobs here")
        yield opened


@pytest.fixture(scope="module")
def job(window: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made in the browser: upload, choose, try the grader, settings, plan, launch, watch until it is done."""
    folder: Path = tmp_path_factory.mktemp("files")
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demo_rows()[0][:40]))
    window.click("a", "New job")
    window.click("button", "Next: dataset")
    window.one("input[type=file]").send_keys(str(folder / "sums.jsonl"))
    window.click("button", "Upload and check")
    window.says("All 40 rows are good for RFT", "As the model reads it")
    window.click("button", "Next: grader")
    window.click('input[value="contains"]')
    window.click("button", "Try on ten rows")
    window.says("Groups with signal", "Forecast", "80 attempts at 10 rows")
    window.click("button", "Next: settings")
    window.fill("[name=temperature]", "9")
    window.click("button", "Next: plan")
    window.says("outside valid range [0.1, 2]")
    for name, value in SETTINGS.items():
        window.fill(f"[name={name}]", value)
    window.click("button", "Next: plan")
    window.says("Attempts per step", "Rows held out")
    window.fill("[name=name]", "carry")
    window.click("button", "Launch")
    window.says("running", "Curves appear with the first step")
    # From here on nothing is reloaded: the page's own stream brings what is new.
    window.until(lambda: bool(window.all(".uplot canvas")), "curves")
    window.point_at_nothing()
    window.says("succeeded")
    window.says("10 of 10")
    window.until(lambda: bool(window.all("#card img")), "the card")
    window.until(lambda: re.search(r"step\s*10\b", window.one(".u-legend").text) is not None, "the newest in a legend")
    return JOB


@pytest.fixture(scope="module")
def evaluation(window: Browser, job: str) -> str:
    """Of what the job made, asked for on its page, and followed without a reload."""
    window.open(job)
    window.click("a", "Evaluate")
    window.click("[name=dataset] option", "sums")
    for name, value in {"evaluator": "contains", "eval_samples": "2", "max_tokens": "24", "name": "after"}.items():
        window.fill(f"[name={name}]", value)
    window.click("button", "Evaluate")
    window.says("succeeded", "95% interval", "Results as dataset")
    window.until(lambda: len(window.all(".attempt")) == 10, "answers")
    return EVALUATION


def test_the_job_page_followed_to_the_end(window: Browser, job: str) -> None:
    window.open(job)
    window.says("Held-out reward", "Groups with signal", "Policy loss", "succeeded")
    window.until(lambda: len(window.all(".uplot canvas")) >= 10, "all curves")
    window.click("figure a", "Table")
    window.says("Download CSV")
    assert len(window.all("tbody tr")) >= 10


def test_a_rollout_down_to_its_tokens(window: Browser, job: str) -> None:
    window.open(f"{job}/rollouts?order=spread")
    window.says("4 groups at step 10")
    window.fill("#q", "no such text")
    window.says("Nothing found", "0 groups with")
    window.fill("#q", "What is")
    window.says("4 groups with")
    window.click("td.prompt a")
    window.says("One group", "4 attempts", "by itself")
    window.click(".attempt a", "Tokens")
    window.until(lambda: len(window.all(".tokens span")) > 3, "tokens")
    assert "nats" in (window.all(".tokens span")[0].get_attribute("title") or "")


def test_a_tuned_model_is_deployed_and_answers(window: Browser, job: str) -> None:
    window.open("/dashboard/models")
    window.click("td a", "Deploy")
    window.fill("[name=name]", "sums-bot")
    window.click("button", "Deploy")
    window.says("sums-bot")
    window.click("td a", "Chat")
    window.fill("#say", "What is 12 + 34?\n")
    window.until(lambda: any(re.search(r"\d", e.text) for e in window.all(".message.assistant")), "an answer")
    window.until(lambda: window.one(".say button").text == "Send", "the end of the answer")
    assert window.all(".message.problem") == []


def test_a_chat_can_be_stopped_and_refuses_odd_numbers(window: Browser, job: str) -> None:
    window.open("/dashboard/chat")
    window.driver.execute_script("""
        const chat = document.getElementById("chat");
        chat.elements.say.value = "hello";
        chat.requestSubmit();
        chat.querySelector(".say button").click();
    """)
    window.says("Stopped.")
    waiting = window.driver.execute_script("""
        const chat = document.getElementById("chat");
        chat.elements.say.value = "hello again";
        chat.requestSubmit();
        const waiting = chat.querySelectorAll(".message.assistant.waiting").length;
        chat.querySelector("[data-clear]").click();
        return waiting;
    """)
    assert waiting == 1, "something stands there while the model loads"
    window.until(lambda: window.one(".say button").text == "Send", "the end of an answer that was cleared away")
    assert window.all(".message") == []
    window.fill("[name=temperature]", "9")
    window.fill("#say", "And now?\n")
    assert window.one("[name=temperature]:invalid")
    assert window.all(".message.user") == []


def test_an_evaluation_is_in_the_list_with_its_score(window: Browser, evaluation: str) -> None:
    window.open("/dashboard/evaluations")
    window.says("after", "succeeded", " to ")
    window.click("td a", "after")
    window.click(".tabs a", "Highest reward first")
    rewards = [float(e.text) for e in window.all(".attempt h3")]
    assert rewards == sorted(rewards, reverse=True) and rewards[0] == 1


def test_a_grader_is_written_mended_and_looks_at_the_attempts_of_a_job(window: Browser, job: str) -> None:
    window.open("/dashboard/evaluators")
    window.click("a", "Write one")
    window.fill("[name=name]", "digits")
    window.fill("[name=source]", "def grade(completion, row)\n")
    window.click("button", "Build")
    window.says("is no Python")
    window.fill("[name=source]", "def grade(completion, row):\n    return 1.0 if completion[:1].isdigit() else 0.0\n")
    window.click("button", "Build")
    window.says("active", "New job with it")
    window.open(job)
    window.click("a", "Regrade")
    window.fill("[name=evaluator]", "uploaded:digits")
    window.click("button", "Regrade")
    window.says("Same order within groups", "Changed sides", "attempts")
    window.open(f"{job}/regrade")
    window.fill("[name=evaluator]", "uploaded:nobody")
    window.click("button", "Regrade")
    window.says("no such evaluator")


def test_a_fork_begins_where_something_is_left_to_train(window: Browser, job: str) -> None:
    window.open(f"{job}/fork")
    assert int(window.one("[name=at_step]").get_attribute("value") or "10") < 10
    window.open(f"{job}/fork?setting=epochs")
    assert window.one("[name=at_step]").get_attribute("value") == "10"


def test_a_second_job_is_cloned_cancelled_and_compared(window: Browser, job: str) -> None:
    window.open(job)
    window.click("a", "Clone")
    window.fill("[name=epochs]", "9")
    window.click("button", "Next: plan")
    window.fill("[name=name]", "carry-on")
    window.click("button", "Launch")
    window.says("running")
    window.click("button", "Cancel")
    window.driver.switch_to.alert.accept()
    window.says("cancelled")
    window.open("/dashboard/compare")
    for box in window.all("input[name=job]"):
        box.click()
    window.click("button", "Compare")
    window.says("Only epochs differs", "Settings that differ")


def test_a_bad_file_is_told_line_by_line(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"messages": [{"role": "user"}]}\nno json\n')
    window.open("/dashboard/datasets")
    window.one("input[type=file]").send_keys(str(tmp_path / "broken.jsonl"))
    window.choose("[name=kind]", "sft")
    window.click("button", "Upload and check")
    window.says("3 problems", "broken.jsonl:1", "broken.jsonl:2")


def test_keys_and_secrets(window: Browser) -> None:
    window.open("/dashboard/keys")
    window.fill("[name=name]", "laptop")
    window.click("button", "Make a key")
    window.says("shown this once", "tml-")
    window.open("/dashboard/keys")
    assert "shown this once" not in window.one("body").text
    window.open("/dashboard/secrets")
    window.fill("[name=name]", "JUDGE_KEY")
    window.fill("[name=value]", "a-very-secret-value")
    window.click("button", "Keep")
    window.says("JUDGE_KEY")
    assert "a-very-secret-value" not in window.driver.page_source


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        (360, False),
        (1280, True),
        pytest.param(360, True, marks=pytest.mark.slow),
        pytest.param(1280, False, marks=pytest.mark.slow),
    ],
)
def test_no_page_has_barriers_or_is_too_wide(
    window: Browser, job: str, evaluation: str, width: int, dark: bool
) -> None:
    window.size(width, dark)
    found = {}
    for path in (*PAGES, *_deep_pages(window)):
        window.open(path)
        wrong = window.barriers() + (["too wide"] if window.too_wide() else [])
        if wrong:
            found[path] = wrong
    window.size(1280, dark=False)
    assert found == {}


def _deep_pages(window: Browser) -> list[str]:
    """A group of rollouts, its tokens, two jobs side by side: their addresses are told by other pages."""
    found = []
    for begin, link in ((f"{JOB}/rollouts?order=spread", "td.prompt a"), ("", ".attempt a")):
        window.open(begin or found[-1])
        found.append(window.one(link).get_attribute("href") or "")
    window.open("/dashboard/compare")
    jobs = [box.get_attribute("value") for box in window.all("input[name=job]")[:2]]
    return [*found, "/dashboard/compare?" + "&".join(f"job={job}" for job in jobs)]


def test_ten_thousand_steps_and_100_000_rollouts_are_there_at_once(
    window: Browser, server: RunningServer, job: str
) -> None:
    """The files of the finished job are replaced by very large ones; it is not run again."""
    [run] = [path.parent for path in server.data_dir.glob("jobs/*/run/adapter")]
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(10_000):
            metrics = {"step": step, "rollout/reward_mean": math.sin(step), "rollout/signal_share": 0.5}
            file.write(json.dumps(metrics | {f"part/p{i}/raw": 0.5 for i in range(30)}) + "\n")
    groups = [group(f"p{i}", [math.sin(i), 0.5, 0.25, 0.125]) for i in range(25_000)]
    RunFolder(run).write_rollouts("step", 10, groups, judged(groups), decode)
    took = {}
    for path in (
        job,
        f"{job}/rollouts?step=10",
        f"{job}/rollouts?step=10&order=surprise&q=reply",
        "/dashboard/fine-tuning",
    ):
        window.open(path)
        took[path] = window.first_content_ms()
    assert max(took.values()) < MOST_MS, took
    window.open(f"{job}/rollouts?step=10")
    window.watch_interactions()
    window.one("#q").send_keys("reply")
    window.says("25000 groups with")
    # Leaving the search field asks too: what is asked last is what is shown.
    window.click("[name=step] option", "9")
    window.says("at step 9")
    slowest = {"rollouts": window.slowest_interaction_ms()}
    window.open(job)
    window.until(lambda: bool(window.all(".uplot canvas")), "curves")
    window.watch_interactions()
    window.click(".u-legend .u-series", "training")
    window.click("summary", "at their defaults")
    slowest["job"] = window.slowest_interaction_ms()
    assert max(slowest.values()) < MOST_ANSWER_MS, slowest


def test_nothing_was_asked_of_another_machine_and_no_script_failed(
    window: Browser, server: RunningServer, job: str
) -> None:
    for path in PAGES:
        window.open(path)
    asked = window.requests()
    assert len(asked) > 2 * len(PAGES)
    assert [url for url in asked if not url.startswith((server.base_url + "/", "data:"))] == []
    refused = re.compile(r"status of 40[04]")
    hints = re.compile(r"\[DOM\]")
    assert [said for said in window.complaints() if not refused.search(said) and not hints.search(said)] == []
