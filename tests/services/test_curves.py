"""Metrics as columns: only what was appended is read, a run that went back is read anew, peaks outlive thinning."""

import json

import pytest

from tunesmith.services.curves import Curves
from tunesmith.services.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def write(run, *lines, name="metrics.jsonl"):
    with (run.path / name).open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def test_both_files_are_columns_of_one_run(run):
    write(run, {"step": 0, "eval/loss": 3.0}, {"step": 1, "train/loss": 2.0, "eval/loss": 2.5})
    write(run, {"step": 1, "time/train_s": 0.5}, name="timing.jsonl")
    curves = Curves()
    found = curves.of(run, ["eval/loss", "time/train_s", "never"])
    assert {name: (list(c.steps), list(c.values)) for name, c in found.items()} == {
        "eval/loss": ([0, 1], [3.0, 2.5]),
        "time/train_s": ([1], [0.5]),
    }
    assert curves.names(run) == ["eval/loss", "time/train_s", "train/loss"]
    assert curves.last(run)["eval/loss"] == 2.5
    assert curves.total(run, "eval/loss") == 5.5
    assert curves.total(run, "never") == 0


def test_lines_that_are_added_are_seen_and_half_a_line_is_not(run):
    curves = Curves()
    assert curves.of(run, ["x"]) == {}
    write(run, {"step": 1, "x": 1.0})
    assert list(curves.of(run, ["x"])["x"].values) == [1.0]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "x"')
    assert list(curves.of(run, ["x"])["x"].values) == [1.0]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(": 2.0}\n")
    assert list(curves.of(run, ["x"])["x"].values) == [1.0, 2.0]


def test_a_run_that_went_back_to_a_checkpoint_is_read_anew(run):
    curves = Curves()
    write(run, *({"step": i, "x": float(i)} for i in range(50)))
    curves.names(run)
    (run.path / "metrics.jsonl").write_text('{"step": 1, "x": 7.0}\n')
    assert list(curves.of(run, ["x"])["x"].values) == [7.0]
    # Longer than before, and another file all the same.
    (run.path / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "x": 9.5}}\n' for i in range(90)))
    assert list(curves.of(run, ["x"])["x"].values) == [9.5] * 90


def test_thinning_keeps_ends_and_peaks(run):
    values = [0.0] * 10_000
    values[4321], values[7000] = 5.0, -5.0
    write(run, *({"step": i, "x": x} for i, x in enumerate(values)))
    curve = Curves().of(run, ["x"], most=200)["x"]
    assert len(curve.steps) <= 200
    assert curve.total == 10_000
    assert (curve.steps[0], curve.steps[-1]) == (0, 9999)
    points = dict(zip(curve.steps, curve.values, strict=True))
    assert (points[4321], points[7000]) == (5.0, -5.0)


def test_smoothing_is_the_mean_of_the_last_ten_and_leaves_short_series(run):
    write(
        run,
        *(
            {"step": i, "x": float(i % 2), "short": float(i)} if i < 5 else {"step": i, "x": float(i % 2)}
            for i in range(40)
        ),
    )
    found = Curves().of(run, ["x", "short"], smooth=True)
    # Means of 1, 2, 3 and 4 values, then of ten.
    assert list(found["x"].values[:4]) == [0.0, 0.5, pytest.approx(1 / 3), 0.5]
    assert list(found["x"].values[9:]) == [0.5] * 31
    assert list(found["short"].values) == [0.0, 1.0, 2.0, 3.0, 4.0]
