"""Recipes of the Tinker cookbook, unmodified and offline: what they train, log and save through the server."""

import json
from pathlib import Path

import pytest
from clients import kitchen
from clients.environments import drive, python_of
from clients.kitchen import INSTRUCT, RENDERER, checkpoints, metrics, recipe
from server.running import RunningServer

CLIENT = "cookbook"
SMALL = ("lora_rank=4", "max_steps=2")
ARITHMETIC = ("groups_per_batch=8", "group_size=4", *SMALL)
ANSWERS = (f"model_name={INSTRUCT}", "max_tokens=32")
"""The model under a name whose renderer suits it, and room for its way of adding up."""
MATH_RL = {
    "sync": (*ANSWERS, "loss_fn=importance_sampling", "compute_post_kl=True", "save_every=1"),
    "defaults": (),
    "async": (*ANSWERS, "max_steps_off_policy=2", "loss_fn=ppo"),
    "stream minibatch": (
        *ANSWERS,
        "stream_minibatch_config.groups_per_batch=8",
        "stream_minibatch_config.num_minibatches=2",
        "num_substeps=2",
        "loss_fn=cispo",
    ),
}


@pytest.fixture(scope="session")
def kitchen_server(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    """The server with models under the recipes' default names and their datasets on its hub."""
    python_of(CLIENT)
    kitchen.add_models(server.data_dir, tmp_path_factory.mktemp("models"))
    problems = {"train": kitchen.word_problems(32), "test": kitchen.word_problems(4)}
    kitchen.add_dataset(server.data_dir, "openai/gsm8k", "main", problems)
    chats = {"train": kitchen.conversations(40), "test": kitchen.conversations(4)}
    kitchen.add_dataset(server.data_dir, "HuggingFaceH4/no_robots", "default", chats)
    return server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cook")


@pytest.mark.parametrize("way", ["sync", *(pytest.param(w, marks=pytest.mark.slow) for w in list(MATH_RL)[1:])])
def test_math_rl_arithmetic(kitchen_server: RunningServer, home: Path, tmp_path: Path, way: str):
    recipe(kitchen_server, home, "math_rl.train", tmp_path / "log", "env=arithmetic", *ARITHMETIC, *MATH_RL[way])
    logged = [step for step in metrics(tmp_path / "log") if "env/all/correct" in step]
    assert len(logged) == 2
    assert all(0 <= step["env/all/correct"] <= 1 for step in logged)
    # The other two ways also train on what weights before the last update sampled.
    assert logged[0]["optim/kl_sample_train_v2"] < (1e-8 if way in ("sync", "defaults") else 1e-4)
    if way == "sync":
        assert abs(logged[0]["kl_pre_post_v2"]) < 1
        assert max(step["optim/grad_norm"] for step in logged) > 0
        assert [c["name"] for c in checkpoints(tmp_path / "log")][-1] == "final"


def test_sl_loop_learns(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    recipe(kitchen_server, home, "sl_loop", tmp_path / "log", "batch_size=10", "learning_rate=3e-3", "lora_rank=4")
    first, *_, last = metrics(tmp_path / "log")
    assert last["train_mean_nll"] < 0.9 * first["train_mean_nll"]
    assert checkpoints(tmp_path / "log")[-1]["sampler_path"].startswith("tinker://")


def test_rl_loop(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    settings = ("batch_size=4", "group_size=2", "max_tokens=8", *SMALL)
    recipe(kitchen_server, home, "rl_loop", tmp_path / "log", *settings)
    assert len(metrics(tmp_path / "log")) >= 2


@pytest.mark.slow
def test_math_rl_gsm8k(kitchen_server: RunningServer, home: Path, tmp_path: Path, shared_data: Path):
    rows = (shared_data / "rl" / "gsm8k" / "gsm8k_train_1000.jsonl").read_text("utf-8").splitlines()
    train, test = ([json.loads(line) for line in part] for part in (rows[:64], rows[64:68]))
    kitchen.add_dataset(kitchen_server.data_dir, "openai/gsm8k", "main", {"train": train, "test": test})
    recipe(kitchen_server, home / "gsm8k", "math_rl.train", tmp_path / "log", "env=gsm8k", *ARITHMETIC, *ANSWERS)
    assert len([step for step in metrics(tmp_path / "log") if "env/all/correct" in step]) == 2


@pytest.mark.slow
def test_chat_sl_resumes(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    chats = tmp_path / "chats.jsonl"
    chats.write_text(
        "".join(json.dumps({"messages": r["messages"]}) + "\n" for r in kitchen.conversations(40)), "utf-8"
    )
    settings = (f"dataset={chats}", "batch_size=8", "lora_rank=4", "save_every=2", "eval_every=0", "learning_rate=1e-3")
    log = tmp_path / "log"
    recipe(kitchen_server, home, "chat_sl.train", log, *settings)
    whole = {line["step"]: line["train_mean_nll"] for line in metrics(log) if "train_mean_nll" in line}
    # As if it had died after its second checkpoint, which the recipe makes after the update of its batch and whose
    # batch it then repeats: what has been trained on once is a little likelier.
    saved = checkpoints(log)[:2]
    (log / "checkpoints.jsonl").write_text("".join(json.dumps(line) + "\n" for line in saved), "utf-8")
    (log / "metrics.jsonl").unlink()
    recipe(kitchen_server, home, "chat_sl.train", log, *settings, "behavior_if_log_dir_exists=resume")
    again = {line["step"]: line["train_mean_nll"] for line in metrics(log) if "train_mean_nll" in line}
    assert saved[-1]["batch"] == 4
    assert list(whole) == [0, 1, 2, 3, 4]
    assert list(again) == [4]
    assert 0.9 * whole[4] < again[4] < whole[4]


@pytest.mark.slow
def test_dpo_from_a_local_file(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    """Its first loss is ln 2, because policy and reference are the same, and preferring is learnt."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in kitchen.comparisons(64)), "utf-8")
    settings = {"model": INSTRUCT, "renderer": RENDERER, "comparisons": str(pairs), "steps": 8}
    drive(CLIENT, "cookbook_dpo", kitchen_server, home, settings | {"log_path": str(tmp_path / "log")}, limit_s=300)
    losses = [line["dpo_loss"] for line in metrics(tmp_path / "log") if "dpo_loss" in line]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < 0.6


RL = {"model": INSTRUCT, "renderer": RENDERER, "max_tokens": 32}


@pytest.mark.slow
def test_rl_with_a_kl_reference(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    log = tmp_path / "log"
    settings = RL | {"steps": 3, "groups": 8, "group_size": 4, "learning_rate": 1e-3, "kl": 0.1, "log_path": str(log)}
    drive(CLIENT, "cookbook_rl", kitchen_server, home, settings, limit_s=300)
    distances = [line["kl_policy_base"] for line in metrics(log) if "kl_policy_base" in line]
    assert distances[0] == pytest.approx(0, abs=1e-4)
    assert max(map(abs, distances[1:])) > 1e-4


@pytest.mark.slow
def test_arithmetic_is_learnt(kitchen_server: RunningServer, home: Path, tmp_path: Path):
    """A loop that nobody here wrote raises its reward on the embedded model."""
    log = tmp_path / "log"
    settings = RL | {"steps": 20, "groups": 32, "group_size": 8, "learning_rate": 6e-4, "log_path": str(log)}
    drive(CLIENT, "cookbook_rl", kitchen_server, home, settings, limit_s=550)
    correct = [line["env/all/correct"] for line in metrics(log) if "env/all/correct" in line]
    start, end = sum(correct[:4]) / 4, sum(correct[-4:]) / 4
    assert end > start + 0.15, correct
