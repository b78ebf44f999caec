"""The serverless mode through Fireworks' own Training SDK, and its numbers beside those of the other wire."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients.conftest import MODEL, Ask
from clients.environments import drive, python_of, variables
from docs.pages import blocks, page
from server.running import RunningServer

SEQUENCES = [[5, 6, 7, 8, 9, 10, 11], [9, 8, 7, 6]]
RATIOS = [{"logprobs": [-13.0] * (len(s) - 1), "advantages": [1.0, -0.5] * 3} for s in SEQUENCES]
COLUMNS = [{name: values[: len(s) - 1] for name, values in c.items()} for s, c in zip(SEQUENCES, RATIOS, strict=True)]
CASES: list[tuple[str, dict[str, float], Any]] = [
    ("cross_entropy", {}, [{"weights": [0.0, 1.0, -0.5, 1.0, 1.0, 2.0]}, {"weights": [1.0, 1.0, 1.0]}]),
    ("importance_sampling", {}, COLUMNS),
    ("ppo", {"clip_low_threshold": 0.7, "clip_high_threshold": 1.3}, COLUMNS),
    ("cispo", {}, COLUMNS),
    ("dro", {"beta": 0.1}, COLUMNS),
    ("gspo", {}, COLUMNS),
    ("ppo", {"clip_low_threshold": 0.8, "clip_high_threshold": 1.28}, COLUMNS),
]
"""(loss, settings, columns of every sequence); each is followed by a step."""


@pytest.fixture
def found(ask: Ask) -> Any:
    return ask("fireworks", "fireworks_serverless")


@pytest.fixture(scope="session")
def losses(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of both SDKs, each with policies of its own."""
    home = tmp_path_factory.mktemp("home")
    # dapo is ppo with this ceiling: the last case asks for it by its own name.
    own_words = {"cases": [*CASES[:-1], ("dapo", {}, COLUMNS)], "sequences": SEQUENCES, "model": MODEL}
    return {
        "fireworks": drive("fireworks", "fireworks_losses", server, home, own_words),
        "tinker": drive("tinker-0.38.0", "losses_twin", server, home, own_words | {"cases": CASES}),
    }


def test_names(found):
    assert re.fullmatch(r"ts-[0-9a-f]{32}", found["session"])
    assert re.fullmatch(r"run-[0-9a-f]{32}", found["run"])
    assert found["session_name"] == f"accounts/default/trainingSessions/{found['session']}"
    assert found["run_name"] == f"accounts/default/trainingRuns/{found['run']}"
    assert found["saved"] == f"default/{found['run']}/step-4"
    assert found["sampler_path"] == f"default/{found['run']}/{found['snapshot_name']}"
    assert found["checkpoints"] == ["step-4"]


def test_training_learns_and_its_reference_stays(found):
    first, second, third = found["losses"]
    assert 0 < third < second < 0.9 * first
    assert found["at_start"] == found["of_reference"] == found["of_reference_later"]
    assert found["trained"] != found["at_start"]


def test_custom_loss(found):
    # The loss is twice a mean of squares; what the server saw is linear: sum of lp dL/dlp, twice the loss itself.
    assert found["custom"]["loss:sum"] == pytest.approx(2 * found["custom"]["mine"], rel=1e-4)


def test_a_saved_state_goes_on_bit_for_bit(found):
    assert found["at_save"] == found["at_resume"] == found["trained"]
    assert found["again"] == found["resumed"] == found["after"] != found["at_save"]


def test_what_is_sampled_is_what_the_trainer_scores(found):
    sampled, scored = found["sampled_logprobs"], found["scored"]
    assert found["tokens"][0] == found["tokens_again"]
    assert np.abs(np.array(sampled) - scored[-len(sampled) :]).max() < 1e-5
    assert found["prompt_logprobs"][0] is None
    assert np.abs(np.array(found["prompt_logprobs"][1:]) - scored).max() < 1e-5


def test_raw_log_probabilities_are_the_models_at_any_temperature(found):
    raw, sampling = (np.array(found["warm"][kind]) for kind in ("raw", "sampling"))
    assert np.abs(raw - found["warm_scored"][-len(raw) :]).max() < 1e-5
    assert np.abs(raw - sampling).max() > 1e-2
    assert len(found["echo"]["raw"]) == found["echo"]["length"] - 1
    assert np.abs(np.array(found["echo"]["raw"]) - found["echo_scored"]).max() < 1e-5


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("loss", "unknown 'dppo'"),
        ("setting", "loss_fn_config of cross_entropy: unknown 'clip'"),
        ("vocabulary", "token 1000000 is not in the vocabulary"),
        ("reference", "is a frozen reference"),
        ("path", "nowhere: no such checkpoint"),
    ],
)
def test_refusals_are_failed_futures(found, what, words):
    assert "RequestFailedError" in found["refused"][what]
    assert words in found["refused"][what]


def test_a_refused_request_does_not_end_the_sequence_and_goodbye_does(found):
    assert found["refused"]["alive"] == ""
    assert "no longer in memory" in found["after_goodbye"]


def test_losses_and_updates_are_those_of_the_other_wire(losses):
    ours, theirs = losses["fireworks"]["losses"], losses["tinker"]
    assert ours["values"] == pytest.approx(theirs["values"], rel=1e-6)
    for x, y in zip(ours["scores"], theirs["scores"], strict=True):
        assert x == pytest.approx(y, abs=1e-6)


def test_the_gradient_is_divided_by_what_it_was_accumulated_over(losses):
    norm = losses["fireworks"]["divided"]
    # 6 + 3 targets in 2 sequences.
    assert norm["num_loss_tokens"] == pytest.approx(norm["none"] / 9, rel=1e-4)
    assert norm["num_sequences"] == pytest.approx(norm["none"] / 2, rel=1e-4)
    assert norm["by_weights"] == pytest.approx(norm["num_loss_tokens"], rel=1e-4)


def test_the_loop_of_the_page_learns(server: RunningServer, tmp_path: Path):
    script = tmp_path / "loop.py"
    script.write_text(blocks(page("fireworks-training.md"), "python")[0], "utf-8")
    key = "fw_" + server.key.removeprefix("tml-")
    own = {"FIREWORKS_BASE_URL": server.base_url, "FIREWORKS_API_KEY": key}
    done = subprocess.run(
        [str(python_of("fireworks")), str(script)],
        env=variables(server, tmp_path / "home") | own,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, *_, last = (float(x) for x in re.findall(r"^step \d+: ([\d.]+)$", done.stdout, re.MULTILINE))
    assert last < 0.7 * first
    assert re.search(r"^\[\d+", done.stdout, re.MULTILINE)
