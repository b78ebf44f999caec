"""Secrets, and deployments that serve any model; those of trainers, which were all there was, become such."""

import sqlalchemy as sa
from alembic import op

revision = "0003_platform"
down_revision = "0002_sizes_over_2_gib"
TABLES = sa.MetaData()

sa.Table(
    "deployed_models",
    TABLES,
    sa.Column("owner", sa.String(length=200), nullable=False),
    sa.Column("id", sa.String(length=63), nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("deployment", sa.String(length=63), nullable=False),
    sa.Column("default", sa.Boolean, nullable=False),
    sa.Column("asked", sa.JSON, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.PrimaryKeyConstraint("owner", "id"),
)
sa.Table(
    "deployments",
    TABLES,
    sa.Column("owner", sa.String(length=200), nullable=False),
    sa.Column("id", sa.String(length=63), nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("base_model", sa.String, nullable=False),
    sa.Column("trainer", sa.String, nullable=False),
    sa.Column("asked", sa.JSON, nullable=False),
    sa.Column("replicas", sa.Integer, nullable=False),
    sa.Column("identity", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.Column("deleted_at", sa.String),
    sa.PrimaryKeyConstraint("owner", "id"),
)
sa.Table(
    "secrets",
    TABLES,
    sa.Column("owner", sa.String(length=200), nullable=False),
    sa.Column("id", sa.String(length=128), nullable=False),
    sa.Column("key_name", sa.String(length=128), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("updated_at", sa.String, nullable=False),
    sa.PrimaryKeyConstraint("owner", "id"),
)


def upgrade() -> None:
    TABLES.create_all(op.get_bind())
    op.execute(
        "INSERT INTO deployments"
        " (owner, id, model, base_model, trainer, asked, replicas, identity, path, created_at, updated_at)"
        " SELECT owner, id, base_model, base_model, trainer, asked, replicas, identity, path, created_at, created_at"
        " FROM training_deployments"
    )
    op.drop_table("training_deployments")
