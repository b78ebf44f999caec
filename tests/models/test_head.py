"""Chunked log-probabilities: values and gradients of plain autograd, without its memory."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from tunesmith.models import head
from tunesmith.models.head import selected_logprobs

ROWS, HIDDEN, VOCAB, RANK = 13, 8, 29, 3


def inputs(adapted: bool, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor, Tensor]:
    """([hidden, weight(, a, b)] with gradients, targets, temperatures)."""
    torch.manual_seed(0)
    shapes = [(ROWS, HIDDEN), (VOCAB, HIDDEN), *([(RANK, HIDDEN), (VOCAB, RANK)] if adapted else [])]
    leaves = [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]
    temperature = torch.tensor([0.7, 1.0, 2.0, 0.1], dtype=torch.float64).repeat(4)[:ROWS].to(dtype)
    return leaves, torch.randint(0, VOCAB, (ROWS,)), temperature


def plain(leaves: list[Tensor], targets: Tensor, temperature: Tensor) -> Tensor:
    hidden, weight = leaves[:2]
    logits = hidden @ weight.T + (hidden @ leaves[2].T @ leaves[3].T if len(leaves) > 2 else 0)
    return (logits / temperature[:, None]).log_softmax(-1).gather(1, targets[:, None])[:, 0]


def chunked(leaves: list[Tensor], targets: Tensor, temperature: Tensor) -> Tensor:
    return selected_logprobs(leaves[0], leaves[1], targets, temperature, *leaves[2:])


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("chunk_numbers", [1, VOCAB * 5, 1 << 20])
def test_values_and_gradients_equal_plain_autograd(
    adapted: bool, chunk_numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(head.CHUNK_NUMBERS, "cpu", chunk_numbers)
    leaves, targets, temperature = inputs(adapted)
    weights = torch.randn(ROWS, dtype=torch.float64)
    weights[3] = 0.0
    found, expected = chunked(leaves, targets, temperature), plain(leaves, targets, temperature)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    mine = torch.autograd.grad((found * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_gradients_pass_torch_s_own_check() -> None:
    leaves, targets, temperature = inputs(adapted=True)
    assert torch.autograd.gradcheck(lambda *x: chunked(list(x), targets, temperature), leaves)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("chunk_numbers", [1, 1 << 20])
def test_several_targets_of_a_row(adapted: bool, chunk_numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(head.CHUNK_NUMBERS, "cpu", chunk_numbers)
    leaves, _, temperature = inputs(adapted)
    targets = torch.randint(0, VOCAB, (ROWS, 4))
    targets[:, 3] = targets[:, 0]
    weights = torch.randn(ROWS, 4, dtype=torch.float64)
    found = chunked(leaves, targets, temperature)
    expected = torch.stack([plain(leaves, column, temperature) for column in targets.T], 1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    mine = torch.autograd.grad((found * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_target_among_others_has_the_bits_of_one_alone() -> None:
    leaves, targets, temperature = inputs(adapted=True, dtype=torch.float32)
    alone, beside = chunked(leaves, targets, temperature), chunked(leaves, targets[:, None].repeat(1, 3), temperature)
    assert beside.shape == (ROWS, 3) and all(torch.equal(column, alone) for column in beside.T)
    mine, theirs = (torch.autograd.grad(x.square().sum(), leaves) for x in (alone, beside[:, :1]))
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("wanted", [[0], [1], [2, 3], [0, 3]])
def test_only_the_gradients_asked_for_are_made(wanted: list[int]) -> None:
    leaves, targets, temperature = inputs(adapted=True)
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(i in wanted)
    chunked(leaves, targets, temperature).sum().backward()
    assert [i for i, leaf in enumerate(leaves) if leaf.grad is not None] == wanted


def test_half_precision_inputs_give_float32_logprobs() -> None:
    leaves, targets, temperature = inputs(adapted=True, dtype=torch.bfloat16)
    found = chunked(leaves, targets, temperature.float())
    assert found.dtype == torch.float32
    found.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == torch.bfloat16 for leaf in leaves)


def test_logits_far_apart_stay_finite() -> None:
    hidden, weight = torch.tensor([[1e4, 0.0]]), torch.eye(2, requires_grad=True)
    found = selected_logprobs(hidden, weight, torch.tensor([1]), torch.ones(1))
    assert found.item() == -1e4
    found.sum().backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


def test_no_rows_are_no_error() -> None:
    leaves, _, _ = inputs(adapted=False)
    out = selected_logprobs(leaves[0][:0], leaves[1], torch.zeros(0, dtype=torch.long), torch.zeros(0).double())
    assert out.shape == (0,)


MEASURE = """
import resource, sys, torch
from tunesmith.models.head import selected_logprobs
torch.manual_seed(0)
torch.set_num_threads(1)
hidden, weight = torch.randn(512, 64, requires_grad=True), torch.randn(151_936, 64)
targets, temperature = torch.randint(0, 151_936, (512,)), torch.full((512,), 0.7)
selected_logprobs(hidden[:1], weight, targets[:1], temperature[:1]).sum().backward()  # what torch itself needs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "chunked":
    out = selected_logprobs(hidden, weight, targets, temperature)
else:
    out = (hidden @ weight.T / temperature[:, None]).log_softmax(-1).gather(1, targets[:, None])[:, 0]
out.sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_large_vocabulary_needs_a_small_part_of_the_memory() -> None:
    run = [sys.executable, "-c", MEASURE]
    extra = {
        name: int(subprocess.run([*run, name], capture_output=True, check=True).stdout) for name in ("chunked", "plain")
    }
    assert extra["plain"] > 512 * 151_936 * 4 // 1024, "the whole logits were never held: nothing was compared"
    assert extra["plain"] >= 8 * extra["chunked"], extra
