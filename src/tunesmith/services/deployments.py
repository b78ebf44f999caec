"""Deployments: names that serve a base model, a tuned model or a trainer's snapshots, and what is loaded beside them.

Nothing is provisioned: weights load with the first request for them. A deployment is what a name stands for now.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, mapped_column

from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.jobs.job import check_name
from tunesmith.services.pages import page_of
from tunesmith.services.registry import Registry
from tunesmith.services.store import Base, Store, utc_now
from tunesmith.services.tuned_models import TunedModels

MOST_REPLICAS = 10_000


class DeploymentRow(Base):
    """One deployment of an owner."""

    __tablename__ = "deployments"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model: Mapped[str]
    """What it serves: a registered base model, or a tuned model of the owner."""
    base_model: Mapped[str]
    """The registered base model below it; of a whole tuned model, the one that it was trained from."""
    trainer: Mapped[str] = mapped_column(default="")
    """Id of the trainer job whose snapshots it loads; empty where it has none."""
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The request in its own wire's words, to be shown again."""
    replicas: Mapped[int] = mapped_column(default=1)
    """0: it answers nothing until it is scaled up."""
    identity: Mapped[str] = mapped_column(default="")
    """The loaded snapshot as the client named it; empty for the model alone."""
    path: Mapped[str] = mapped_column(default="")
    """The same as a checkpoint's path."""
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)
    deleted_at: Mapped[str | None]
    """Until it is undeleted or deleted for good."""


class DeployedModelRow(Base):
    """A tuned model that is loaded on a deployment of its base model."""

    __tablename__ = "deployed_models"
    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model: Mapped[str]
    deployment: Mapped[str] = mapped_column(String(63))
    default: Mapped[bool]
    """Whether the deployment's own name means this model."""
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(default=utc_now)
    updated_at: Mapped[str] = mapped_column(default=utc_now)


class Deployments:
    """All deployments of a server; an owner sees only its own."""

    def __init__(self, store: Store, registry: Registry, tuned_models: TunedModels) -> None:
        self._store, self._registry, self._tuned = store, registry, tuned_models

    def create(
        self,
        owner: str,
        deployment_id: str,
        model: str,
        *,
        replicas: int = 1,
        trainer: str = "",
        asked: Mapping[str, Any] | None = None,
        only_check: bool = False,
    ) -> DeploymentRow:
        """Give a model a name to be served under.

        Args:
            model: a registered base model, or a tuned model of the owner.
            trainer: id of a trainer job that will load snapshots into it.
            only_check: refuse what would be refused, and make nothing.

        Raises:
            UserError: an id that cannot be one. NotFound: no such model.
            Conflict: the owner has one of that id.
        """
        check_name("deployment", deployment_id)
        _check_replicas(replicas)
        name, base = self._model(owner, model)
        row = DeploymentRow(
            owner=owner,
            id=deployment_id,
            model=name,
            base_model=base,
            trainer=trainer,
            asked=dict(asked or {}),
            replicas=replicas,
            created_at=utc_now(),
            updated_at=utc_now(),
        )
        with self._store.begin() as db:
            old = db.get(DeploymentRow, (owner, deployment_id))
            if old is not None:
                mend = "Choose another, or undelete it" if old.deleted_at else "Go on with it, or choose another"
                raise Conflict(deployment_id, "is the id of a deployment already", mend)
            if not only_check:
                db.add(row)
        return row

    def get(self, owner: str, deployment_id: str, *, deleted: bool = False) -> DeploymentRow:
        """
        Args:
            deleted: whether one that was deleted will do.

        Raises:
            NotFound: the owner has none of that id.
        """
        with self._store.read() as db:
            row = db.get(DeploymentRow, (owner, deployment_id)) if deployment_id.isprintable() else None
        if row is None or (row.deleted_at and not deleted):
            raise NotFound(deployment_id[:100], "no such deployment", "Create it first")
        return row

    def page(
        self, owner: str, *, deleted: bool = False, limit: int = 50, offset: int = 0
    ) -> tuple[Sequence[DeploymentRow], int]:
        """(some of the owner's, newest first; how many there are)."""
        those = select(DeploymentRow).where(DeploymentRow.owner == owner)
        if not deleted:
            those = those.where(DeploymentRow.deleted_at.is_(None))
        with self._store.read() as db:
            return page_of(db, those, (DeploymentRow.created_at.desc(), DeploymentRow.id), limit, offset)

    def change(self, owner: str, deployment_id: str, **fields: Any) -> DeploymentRow:
        """Set columns of a deployment."""
        self.get(owner, deployment_id)
        if "replicas" in fields:
            _check_replicas(fields["replicas"])
        with self._store.begin() as db:
            row = db.get_one(DeploymentRow, (owner, deployment_id))
            for name, value in fields.items():
                setattr(row, name, value)
            row.updated_at = utc_now()
        return row

    def scale(self, owner: str, deployment_id: str, replicas: int) -> DeploymentRow:
        """How many copies the client wants; here all requests share one, and 0 closes the name."""
        return self.change(owner, deployment_id, replicas=replicas)

    def delete(self, owner: str, deployment_id: str, *, for_good: bool = False) -> None:
        """Close a name; models loaded on it are unloaded. It can be undeleted unless it is deleted for good."""
        self.get(owner, deployment_id, deleted=True)
        with self._store.begin() as db:
            row = db.get_one(DeploymentRow, (owner, deployment_id))
            for loaded in db.scalars(_on(owner, deployment_id)):
                db.delete(loaded)
            if for_good:
                db.delete(row)
            else:
                row.deleted_at = row.updated_at = utc_now()

    def undelete(self, owner: str, deployment_id: str) -> DeploymentRow:
        self.get(owner, deployment_id, deleted=True)
        with self._store.begin() as db:
            row = db.get_one(DeploymentRow, (owner, deployment_id))
            row.deleted_at, row.updated_at = None, utc_now()
        return row

    def load(
        self,
        owner: str,
        loaded_id: str,
        model: str,
        deployment_id: str,
        *,
        default: bool = False,
        replace: bool = False,
        asked: Mapping[str, Any] | None = None,
    ) -> DeployedModelRow:
        """Let a deployment serve a tuned model of its base model too.

        Args:
            default: the deployment's own name means this model from now on.
            replace: the model takes the place of all that are loaded there.

        Raises:
            NotFound: no such deployment or tuned model.
            UserError: a model of another base model, or a whole one.
            Conflict: it is loaded there already.
        """
        check_name("deployed_model", loaded_id)
        deployment, tuned = self.get(owner, deployment_id), self._tuned.find(owner, model)
        if tuned.whole:
            raise UserError(model, "is a whole model, not an adapter", "Create a deployment of its own for it")
        if tuned.base_model != deployment.base_model:
            problem = f"belongs to {tuned.base_model}, and {deployment_id} serves {deployment.base_model}"
            raise UserError(model, problem, "Deploy its own base model")
        row = DeployedModelRow(
            owner=owner,
            id=loaded_id,
            model=model,
            deployment=deployment_id,
            default=default,
            asked=dict(asked or {}),
        )
        with self._store.begin() as db:
            for other in db.scalars(_on(owner, deployment_id)).all():
                if replace:
                    db.delete(other)
                elif other.model == model:
                    raise Conflict(model, f"is loaded on {deployment_id} already, as {other.id}", "Leave it")
                elif default:
                    other.default = False
            db.flush()
            if db.get(DeployedModelRow, (owner, loaded_id)) is not None:
                raise Conflict(loaded_id, "is the id of a deployed model already", "Choose another")
            db.add(row)
        return row

    def loaded(self, owner: str, loaded_id: str) -> DeployedModelRow:
        """
        Raises:
            NotFound: the owner has no deployed model of that id.
        """
        with self._store.read() as db:
            row = db.get(DeployedModelRow, (owner, loaded_id)) if loaded_id.isprintable() else None
        if row is None:
            raise NotFound(loaded_id[:100], "no such deployed model", "Load a model on a deployment first")
        return row

    def all_loaded(self, owner: str, deployment_id: str | None = None) -> Sequence[DeployedModelRow]:
        """Newest first."""
        with self._store.read() as db:
            return db.scalars(_on(owner, deployment_id).order_by(DeployedModelRow.created_at.desc())).all()

    def change_loaded(self, owner: str, loaded_id: str, default: bool, asked: Mapping[str, Any]) -> DeployedModelRow:
        row = self.loaded(owner, loaded_id)
        with self._store.begin() as db:
            if default:
                for other in db.scalars(_on(owner, row.deployment)):
                    other.default = False
            row = db.get_one(DeployedModelRow, (owner, loaded_id))
            row.default, row.asked, row.updated_at = default, dict(asked), utc_now()
        return row

    def unload(self, owner: str, loaded_id: str) -> None:
        self.loaded(owner, loaded_id)
        with self._store.begin() as db:
            db.delete(db.get_one(DeployedModelRow, (owner, loaded_id)))

    def serves(self, owner: str, deployment_id: str, model: str | None = None) -> str:
        """The base or tuned model that answers under a deployment's name, snapshots aside.

        Args:
            model: one of several that are loaded there.

        Raises:
            NotFound: no such deployment, or the model is not loaded there.
            UserError: it is scaled to zero.
        """
        row = self.get(owner, deployment_id)
        if not row.replicas:
            raise UserError(deployment_id, "is scaled to zero", "Scale it up, or create another deployment")
        loaded = self.all_loaded(owner, deployment_id)
        if model is None:
            return next((other.model for other in loaded if other.default), row.model)
        if model != row.model and model not in {other.model for other in loaded}:
            raise NotFound(model[:200], f"is not deployed on {deployment_id}", "Load it there first")
        return model

    def _model(self, owner: str, model: str) -> tuple[str, str]:
        """(name of what is served, name of the base model below it)."""
        found = self._tuned.get(owner, model)
        if found is not None:
            return found.name, found.base_model
        base = self._registry.find(model).name
        return base, base


def _on(owner: str, deployment_id: str | None) -> Any:
    """The models that are loaded on a deployment, or on any."""
    those = select(DeployedModelRow).where(DeployedModelRow.owner == owner)
    return those if deployment_id is None else those.where(DeployedModelRow.deployment == deployment_id)


def _check_replicas(replicas: int) -> None:
    if not 0 <= replicas <= MOST_REPLICAS:
        raise UserError("replicas", f"outside [0, {MOST_REPLICAS}] (got {replicas})", "Give 1; 0 closes the name")
