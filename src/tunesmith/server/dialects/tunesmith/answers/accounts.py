"""Models, evaluators and deployments of an owner, and the keys and secrets that go with them."""

from typing import Any

from tunesmith.server.dialects.tunesmith.answers.base import Answer


class Model(Answer):
    """A base model, which everybody has, or a tuned model of the key's owner."""

    name: str
    base_model: str | None
    """Null for a base model."""
    whole: bool
    """Whether it is a model of its own, not an adapter."""
    job_id: str
    """The job that made it; empty where none did."""
    created_at: str | None
    max_context: int
    """Tokens."""
    card: dict[str, Any] | None
    """What the job that made it proved, as `card.json` has it; null where no job did."""


class Key(Answer):
    """What may be shown of a key."""

    id: str
    name: str
    prefix: str
    """Its first characters."""
    created_at: str
    last_used_at: str | None
    revoked_at: str | None
    scope: str
    expires_at: str | None


class NewKey(Key):
    key: str
    """In plain text, this once."""


class Evaluator(Answer):
    """An uploaded evaluator; a job names it as `uploaded:<id>`."""

    id: str
    display_name: str
    entry_point: str
    state: str
    """BUILDING, ACTIVE or BUILD_FAILED."""
    reason: str
    """Why the build failed."""
    traits: dict[str, Any]
    """What the build found out about it."""
    created_at: str
    updated_at: str


class Secret(Answer):
    """The name of a secret; its value is never shown again."""

    name: str
    created_at: str
    updated_at: str


class Secrets(Answer):
    items: list[Secret]


class Deployment(Answer):
    """A name under which the server answers for a model."""

    id: str
    name: str
    """What inference takes as `model`."""
    model: str
    """Base or tuned model that it serves."""
    base_model: str
    loaded: list[str]
    """Tuned models that it serves too."""
    default: str
    """The model that its own name means."""
    replicas: int
    """0: the name is closed."""
    created_at: str
    updated_at: str
