"""The demo's promise: the embedded model learns to carry, on held-out sums, within the time and in the open."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from models.tiny import reload
from peft import PeftModel
from transformers import AutoTokenizer

from tunesmith.data import load_rows
from tunesmith.grading.builtin.numbers import last_number
from tunesmith.services.demo import demo_spec
from tunesmith.services.demo_rows import CARRY_SHARE, carries, demo_rows, is_held_out
from tunesmith.services.names import embedded_model
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.worker import start

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished demo, and what it took."""

    run: RunFolder
    cpu_s: float
    """Processor seconds: on a machine that others use too, the clock on the wall says little."""

    def heldout(self) -> list[float]:
        """Held-out rewards, oldest first."""
        return [line["eval/reward_mean"] for line in self.run.metrics() if "eval/reward_mean" in line]


def _ran(folder: Path, **changes: object) -> Ran:
    began = time.process_time()
    run = start(demo_spec(folder).model_copy(update=changes))
    return Ran(run, time.process_time() - began)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A sixth of the demo, in smaller steps at the fastest managed rate."""
    folder = tmp_path_factory.mktemp("short")
    lines = Path(demo_spec(folder).dataset).read_text().splitlines(keepends=True)
    beginning = folder / "beginning.jsonl"
    beginning.write_text("".join(lines[:128]))
    return _ran(folder, dataset=str(beginning), chunk_size=32, learning_rate=5e-4, batch_size=2048, eval_every=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return _ran(tmp_path_factory.mktemp("whole"))


def test_every_sum_is_asked_once_and_held_out_sums_stay_so() -> None:
    train, heldout = demo_rows()
    assert (train, heldout) == demo_rows()
    asked = [tuple(map(int, row["id"].split("+"))) for row in (*train, *heldout)]
    assert len(set(asked)) == len(asked) == 740
    assert [is_held_out(*pair) for pair in asked] == [False] * 640 + [True] * 100
    trained_on = {frozenset(pair) for pair in asked[:640]}
    assert not any(frozenset(pair) in trained_on for pair in asked[640:])
    for rows, pairs in ((train, asked[:640]), (heldout, asked[640:])):
        assert sum(carries(*pair) for pair in pairs) == round(CARRY_SHARE * len(rows))
    for row, (a, b) in zip((*train, *heldout), asked, strict=True):
        assert row["messages"] == [{"role": "user", "content": f"What is {a} + {b}?"}]
        assert row["ground_truth"] == str(a + b)


def test_the_spec_is_an_ordinary_managed_job(tmp_path: Path) -> None:
    spec = demo_spec(tmp_path, seed=3)
    assert (spec.seed, spec.output_dir, spec.limits, spec.loss().kl_coef) == (3, str(tmp_path), "managed", 0.001)
    assert spec.warnings() == []
    for path, rows in zip((spec.dataset, spec.evaluation_dataset), demo_rows(), strict=True):
        assert [row.row for row in load_rows(Path(str(path)), "rft").rows] == rows


def test_without_a_folder_it_takes_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = demo_spec()
    assert str(spec.output_dir).startswith("runs/demo-")
    assert Path(spec.dataset).parent == Path(str(spec.output_dir))


@pytest.mark.thorough
def test_a_short_demo_already_learns(short: Ran) -> None:
    before, after = short.heldout()
    assert after - before >= 0.15
    _whole_and_exact(short)


def test_what_it_learned_opens_in_peft_and_solves_more(short: Ran) -> None:
    """The real libraries on the run's adapter: greedy answers to held-out sums, base against tuned."""
    base = reload(embedded_model())
    tuned = PeftModel.from_pretrained(reload(embedded_model()), short.run.path / "adapter").eval()
    assert _solved(tuned) >= _solved(base) + 10


@pytest.mark.slow
def test_the_demo_keeps_its_promise(whole: Ran) -> None:
    rewards = whole.heldout()
    assert rewards[-1] - rewards[0] >= 0.3
    assert rewards[0] <= 0.6 and rewards[-1] >= 0.9
    assert whole.cpu_s < 90
    _whole_and_exact(whole)
    tuned = PeftModel.from_pretrained(reload(embedded_model()), whole.run.path / "adapter").eval()
    assert _solved(tuned) >= 36  # of 40


def _whole_and_exact(ran: Ran) -> None:
    """Ended as it should, and sampler and trainer agreed at every step."""
    assert ran.run.state().state == "COMPLETED"
    gaps = [line["gap/max"] for line in ran.run.metrics() if "gap/max" in line]
    assert len(gaps) == ran.run.state().num_steps
    assert max(gaps) < 1e-5


def _solved(model: torch.nn.Module) -> int:
    """How many of 40 held-out sums the model solves greedily in transformers; prompts are equally long."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    rows = demo_rows()[1][:40]
    prompts = tokenizer.apply_chat_template(
        [row["messages"] for row in rows], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        ids = model.generate(**prompts, max_new_tokens=32, do_sample=False, temperature=None, top_k=None)
    texts = tokenizer.batch_decode(ids[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(int(last_number(text, row).reward) for text, row in zip(texts, rows, strict=True))
