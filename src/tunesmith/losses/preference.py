"""Losses over pairs of a better and a worse answer: sequence 2i is preferred to sequence 2i + 1.

A pair stays in one micro-batch; ``norm.sequences`` is the number of pairs of the optimizer step. Symbols: w = better
(winning) answer, l = worse (losing) answer, ref = frozen reference, sigma = logistic function.
"""

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from tunesmith.core.errors import UserError
from tunesmith.losses.base import MAX_LOG_RATIO, LossInputs, LossOutput, Norm, checked

_MAX_MEAN_LOGPROB = -math.exp(-MAX_LOG_RATIO)
"""Nats; a mean log-probability closer to 0 has log-odds above 20."""


@checked
def dpo(x: LossInputs, norm: Norm, beta: float = 0.1) -> LossOutput:
    """DPO 2305.18290: prefer the better answer by more than the reference does.

        L = - 1/pairs sum ln sigma(beta m),   m = (ln p(w) - ln ref(w)) - (ln p(l) - ln ref(l))

        ln p(y), ln ref(y) = weighted sum over the tokens of the answer, nats; beta in 1/nats

    Returns:
        Loss in nats, ln 2 while the policy is the reference, with preference/accuracy (share of pairs with m > 0),
        preference/margin (mean m, nats, before beta) and the mean ln p of either side, preference/chosen_logprob
        and preference/rejected_logprob.
    """
    assert x.ref_logprobs is not None, "dpo needs ref_logprobs"
    if beta <= 0:
        raise UserError("loss dpo, beta", f"must be above 0 (got {beta:g})", "Give for example 0.1")
    better, worse = _pairs(x, x.per_sequence(x.weights * (x.logprobs - x.ref_logprobs)))
    margin = better - worse
    loss = -logsigmoid(beta * margin).sum() / norm.sequences
    logprobs = x.per_sequence(x.weights * x.logprobs)
    return LossOutput(loss, _metrics(margin, *_pairs(x, logprobs), norm))


@checked
def orpo(x: LossInputs, norm: Norm, orpo_lambda: float = 0.1) -> LossOutput:
    """ORPO 2403.07691: learn the better answer and its odds over the worse one at once, without a reference.

        L = 1/pairs sum [ - a(w)  -  lambda ln sigma(m) ],   m = o(w) - o(l)

        a(y) = weighted sum of ln p over the answer / its trained tokens, nats
        o(y) = a - ln(1 - exp a), the log-odds of the answer's mean probability, at most 20

    Returns:
        Loss in nats, with preference/accuracy (share of pairs with m > 0), preference/margin (mean m, nats) and the
        mean a of either side, preference/chosen_logprob and preference/rejected_logprob.
    """
    if orpo_lambda < 0:
        given = f"must not be negative (got {orpo_lambda:g})"
        raise UserError("loss orpo, orpo_lambda", given, "Give 0 or more, for example 0.1")
    better, worse = _pairs(x, x.per_sequence(x.weights * x.logprobs) / x.lengths())
    margin = _log_odds(better) - _log_odds(worse)
    loss = (-better - orpo_lambda * logsigmoid(margin)).sum() / norm.sequences
    return LossOutput(loss, _metrics(margin, better, worse, norm))


def _pairs(x: LossInputs, values: Tensor) -> tuple[Tensor, Tensor]:
    """[S] -> [S / 2] of the better and [S / 2] of the worse answers."""
    if x.num_sequences % 2:
        problem = f"{x.num_sequences} sequences do not make pairs"
        raise UserError("preference data", problem, "Give each better answer with its worse answer right after it")
    return values[0::2], values[1::2]


def _log_odds(mean_logprob: Tensor) -> Tensor:
    """ln(p / (1 - p)) of p = exp(mean_logprob)."""
    mean_logprob = mean_logprob.clamp(max=_MAX_MEAN_LOGPROB)
    return mean_logprob - (-mean_logprob.expm1()).log()


def _metrics(margin: Tensor, better: Tensor, worse: Tensor, norm: Norm) -> dict[str, Tensor]:
    columns = {
        "preference/accuracy": (margin > 0).to(margin.dtype),
        "preference/margin": margin,
        "preference/chosen_logprob": better,
        "preference/rejected_logprob": worse,
    }
    return {name: (column.sum() / norm.sequences).detach() for name, column in columns.items()}
