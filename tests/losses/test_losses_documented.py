"""docs/losses.md names everything a user can choose or see, and its example runs."""

import inspect
import re
from pathlib import Path

import pytest
from losses.packed import random_batch

from tunesmith.core.types import Norm
from tunesmith.losses import LOSSES
from tunesmith.spec.loss import METHODS, PolicyLoss

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "losses.md").read_text("utf-8")
SETTINGS = {name: list(inspect.signature(loss).parameters)[2:] for name, loss in LOSSES.items()}
CHOICES = [
    *METHODS,
    *LOSSES,
    *PolicyLoss.model_fields,
    *(s for names in SETTINGS.values() for s in names if s != "cfg"),
]


@pytest.mark.parametrize("name", sorted(set(CHOICES)))
def test_every_method_loss_and_setting_is_documented(name):
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("name", LOSSES)
def test_every_metric_and_default_is_documented(name):
    settings = {"cfg": METHODS["grpo"]} if name == "policy" else {}
    metrics = LOSSES[name](random_batch([2, 2]), Norm(4, 2), **settings).metrics
    assert [m for m in metrics if f"`{m}`" not in TEXT] == []
    parameters = inspect.signature(LOSSES[name]).parameters
    documented = [f"`{s}` {parameters[s].default:g}" in TEXT for s in SETTINGS[name] if s != "cfg"]
    # cispo shares the settings of ppo, in the row above
    assert all(documented)


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example, {})
