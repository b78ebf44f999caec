"""Routes of sampling: samplers, completions, and scores of prompts."""

from typing import Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from tunesmith.core.errors import UserError
from tunesmith.core.seeds import seed_of
from tunesmith.core.types import Ints, PromptScoring
from tunesmith.server.auth import Owner
from tunesmith.server.body import read_json
from tunesmith.server.dialects import bodies
from tunesmith.server.dialects.tinker import schemas
from tunesmith.server.dialects.tinker.service import sessions_of
from tunesmith.server.errors import refusal
from tunesmith.server.routing import Router

router = Router()
MOST_PENDING = 10_000
"""Requests under way at once; more are told to wait a moment."""


@router.post("/create_sampling_session")
async def create_sampling_session(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, bodies.CreateSampler)
    sampler = sessions_of(request).samplers.create(
        owner, body.session_id, body.sampling_session_seq_id, body.base_model, body.model_path
    )
    return {"type": "create_sampling_session", "sampling_session_id": sampler.id}


@router.post("/join_sampling_session")
async def join_sampling_session(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.JoinSampler)
    return {"client_counter": sessions_of(request).samplers.join(owner, body.sampling_session_id)}


@router.get("/samplers/{sampler_id}")
async def get_sampler(request: Request, owner: Owner, sampler_id: str) -> dict[str, Any]:
    row = sessions_of(request).samplers.find(owner, sampler_id).row
    path = {} if row.model_path is None else {"model_path": row.model_path}
    return {"sampler_id": row.id, "base_model": row.base_model, **path}


@router.post("/asample")
async def asample(request: Request, owner: Owner) -> dict[str, Any]:
    body = await read_json(request, schemas.Sample)
    samplers = sessions_of(request).samplers
    if samplers.running >= MOST_PENDING:
        problem = f"{MOST_PENDING} requests are under way"
        raise refusal(429, UserError("asample", problem, "Send it again in a moment"), {"retry-after": "1"})
    live = samplers.find(owner, body.sampling_session_id)
    prompt = _prompt(body.prompt)
    own_seed = seed_of(body.sampling_session_id, body.seq_id)
    params = body.sampling_params.params(live.context - len(prompt), own_seed, body.topk_sample_logprobs)
    seq, n = body.seq_id, body.num_samples
    scoring, layout = _scoring(body, prompt, live.vocab)
    request_id = samplers.sample(owner, live.row.id, seq, prompt, params, n, scoring, layout)
    return {"request_id": request_id, "sample_sequence_ids": [f"{live.row.id}:{seq}:{i}" for i in range(n)]}


def _prompt(given: schemas.Prompt) -> Ints:
    for i, chunk in enumerate(given.chunks):
        if chunk.type != "encoded_text":
            problem = f"is {chunk.type!r}, which the models here cannot see or hear"
            raise UserError(f"prompt.chunks[{i}]", problem, "Send text, as encoded_text")
    return _ids("prompt", [token for chunk in given.chunks for token in chunk.tokens])


def _ids(where: str, values: list[int]) -> Ints:
    try:
        return np.array(values, np.int32)
    except OverflowError:
        raise UserError(where, "holds an id beyond 32 bits", "Encode with the tokenizer of this model") from None


def _scoring(
    body: schemas.Sample, prompt: Ints, vocab: int
) -> tuple[PromptScoring | None, list[NDArray[np.int64]] | None]:
    """(what to report of the prompt, the layout of its targets)."""
    for name in ("topk_sample_logprobs", "topk_prompt_logprobs", "prompt_alt_tokens_k"):
        if getattr(body, name) > vocab:
            raise UserError(name, f"{getattr(body, name)} are more than the vocabulary holds", f"Give at most {vocab}")
    targets = layout = None
    if body.target_prompt_logprobs is not None:
        targets, layout = _targets(body.target_prompt_logprobs, len(prompt) - 1, vocab)
    wanted = body.prompt_logprobs or body.topk_prompt_logprobs or body.prompt_alt_tokens_k or targets is not None
    if not wanted:
        return None, None
    scoring = PromptScoring(
        top_k=body.topk_prompt_logprobs,
        targets=targets,
        alternatives=body.prompt_alt_tokens_k,
        temperature=body.sampling_params.temperature,
        last_n=body.prompt_logprobs_last_n,
        seed=(body.sampling_params.seed or 0) & bodies.SEED_BITS,
    )
    return scoring, layout


def _targets(given: schemas.JsonTensor, rows: int, vocab: int) -> tuple[Ints, list[NDArray[np.int64]] | None]:
    """([rows, K] ids, -1 where nothing is asked; the layout where it is a sparse one)."""
    where = "target_prompt_logprobs"
    shape = given.shape or []
    if len(shape) != 2 or shape[0] != rows or not 1 <= shape[1] <= vocab:
        raise UserError(where, f"has shape {shape}", f"Give [{rows}, K]: one row for every token after the first")
    values = _ids(where, given.data)
    layout = None
    if given.sparse_crow_indices is None and given.sparse_col_indices is None:
        if len(values) != rows * shape[1]:
            raise UserError(where, f"holds {len(values)} ids for shape {shape}", "Make both agree")
        out = values.reshape(rows, shape[1])
    else:
        layout = _layout(where, given, len(values), shape)
        out = np.full((rows, shape[1]), -1, np.int32)
        out[np.repeat(np.arange(rows), np.diff(layout[0])), layout[1]] = values
    if out.size and (out.min() < -1 or out.max() >= vocab):
        raise UserError(where, "holds an id out of the vocabulary", f"Give -1 (skip) to {vocab - 1}")
    return out, layout


def _layout(where: str, given: schemas.JsonTensor, count: int, shape: list[int]) -> list[NDArray[np.int64]]:
    try:
        crow = np.array(given.sparse_crow_indices or [], np.int64)
        columns = np.array(given.sparse_col_indices or [], np.int64)
    except OverflowError:
        raise UserError(where, "holds an index beyond 64 bits", "Send a CSR matrix") from None
    whole = len(crow) == shape[0] + 1 and crow[0] == 0 and crow[-1] == count == len(columns)
    inside = not len(columns) or 0 <= columns.min() <= columns.max() < shape[1]
    if not whole or (np.diff(crow) < 0).any() or not inside:
        raise UserError(where, "its indices do not describe a matrix of its shape", "Send a CSR matrix")
    return [crow, columns]
