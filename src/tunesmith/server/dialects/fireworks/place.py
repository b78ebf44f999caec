"""Where a request of the training wire arrived: at the serverless address, or at that of a trainer job."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from tunesmith.server.auth import Owner
from tunesmith.server.dialects.fireworks import names
from tunesmith.services.deployments import Deployments
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.trainers import Trainers

SESSION_PREFIX = "ts-"
"""Of serverless sessions: clients tell the two modes apart by it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A trainer of its own, or the pool that serves everybody."""

    owner: str
    sessions: Sessions
    trainers: Trainers
    deployments: Deployments
    trainer: str = ""
    """Id of the trainer job; empty at the serverless address."""

    @property
    def forward_only(self) -> bool:
        """Whether the trainer job was made for reference models."""
        return bool(self.trainer and self.trainers.find(self.owner, self.trainer).asked.get("forwardOnly"))

    def begin(self, session_id: str) -> None:
        """Note a session that a client began here."""
        if self.trainer:
            self.trainers.adopt(self.owner, self.trainer, session_id)

    def models_near(self, model_id: str) -> list[list[str]]:
        """Models whose checkpoints a bare name means: the model's own, then its session's or its trainer job's."""
        row = self.sessions.models.find(self.owner, model_id)
        others = self.models_of(self.trainer) if self.trainer else self.models_in(row.session_id)
        return [[row.id], others]

    def models_in(self, session_id: str) -> list[str]:
        return self.sessions.clients.belongings(session_id)[0]

    def models_of(self, trainer: str) -> list[str]:
        """All models that a trainer job ever had, as far back as checkpoints go."""
        sessions = self.trainers.sessions(self.owner, trainer)
        return [model for s in sessions for model in self.models_in(s)]

    def model_id(self, session_id: str, number: int, reference: bool) -> str:
        """The id of a new model; empty for the server's own way of naming."""
        if reference:
            return names.reference_id(session_id, number)
        return "" if self.trainer else names.model_of_run(names.run_id(session_id, number))


def place_of(request: Request, owner: Owner) -> Place:
    """
    Raises:
        NotFound, Denied: the address names a trainer job that is not there, or not the key's.
    """
    state, job = request.app.state, request.path_params.get("job", "")
    place = Place(owner, state.sessions, state.trainers, state.deployments, job)
    if job:
        names.check_account(owner, request.path_params["account"])
        place.trainers.running(owner, job)
    return place


Here = Annotated[Place, Depends(place_of)]
