"""``tunesmith`` in this process, as a shell starts it."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tunesmith.cli.main import main


@dataclass
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


class Shell:
    """Runs commands one after another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: str, code: int = 0) -> Done:
        """A command that has to end with that code."""
        self.monkeypatch.setattr(sys, "argv", ["tunesmith", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        done = Done(int(ended.value.code or 0), said.out, said.err)
        assert done.code == code, (words, done)
        return done
