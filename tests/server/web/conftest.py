"""Somebody who is logged in, in an app of this process; and files of a run as a worker would have left them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tunesmith.server.web.visitor import COOKIE
from tunesmith.services.jobs.job import Job, NewJob
from tunesmith.services.logins import Logins

Ask = Callable[..., Any]


@pytest.fixture
def session(app: FastAPI) -> str:
    logins: Logins = app.state.logins
    return logins.new_session("ann")


@pytest.fixture
def get(ask: Ask, session: str) -> Ask:
    """``get("/fine-tuning")``: a page as ann sees it."""
    return lambda path, **given: ask("GET", "/dashboard" + path, headers=_headers(session), **given)


@pytest.fixture
def post(ask: Ask, get: Ask, session: str) -> Ask:
    """``post("/logout", name="value")``: a form of ann's, with the token that her pages carry."""

    def send(path: str, **fields: Any) -> Any:
        found = re.search(r'name="csrf" value="(\w+)"', get("/fine-tuning").text)
        assert found, "every page has a form"
        return ask("POST", "/dashboard" + path, headers=_headers(session), data={"csrf": found[1], **fields})

    return send


def _headers(session: str) -> dict[str, str]:
    return {"cookie": f"{COOKIE}={session}", "host": "localhost"}


ROWS = [{"messages": [{"role": "user", "content": f"{i}+1"}], "ground_truth": str(i + 1)} for i in range(6)]


@pytest.fixture
def job(app: FastAPI) -> Job:
    """A queued RFT job of ann's; no worker takes it up."""
    return new_job(app, "ann", "carry")


def new_job(app: FastAPI, owner: str, name: str, title: str = "", **settings: Any) -> Job:
    datasets, jobs = app.state.datasets, app.state.jobs
    if not datasets.page(owner)[0]:
        datasets.create(owner, "sums", kind="rft")
        with datasets.upload(owner, "sums") as incoming:
            incoming.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())
        datasets.finish(owner, "sums")
    made: Job = jobs.create(
        owner, NewJob("rft", {"evaluator": "contains", **settings}, "sums", name=name, display_name=title)
    )
    return made


def write_metrics(folder: Path, steps: int, **more: float) -> None:
    """metrics.jsonl and timing.jsonl of a run with so many steps."""
    with (folder / "metrics.jsonl").open("w") as metrics, (folder / "timing.jsonl").open("w") as timing:
        for step in range(1, steps + 1):
            shown = {"rollout/reward_mean": step / steps, "rollout/signal_share": 0.5, "rollout/tokens": 100.0, **more}
            metrics.write(json.dumps({"step": step, **shown}) + "\n")
            timing.write(json.dumps({"step": step, "time/rollout_s": 1.0, "time/train_s": 0.5}) + "\n")
