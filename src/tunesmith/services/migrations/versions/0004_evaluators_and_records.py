"""Uploaded evaluators, and records that clients keep."""

import sqlalchemy as sa
from alembic import op

revision = "0004_evaluators_and_records"
down_revision = "0003_platform"


def upgrade() -> None:
    op.create_table(
        "evaluators",
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("upload", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("entry_point", sa.String(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("traits", sa.JSON(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "id"),
    )
    op.create_table(
        "records",
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("collection", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "collection", "id"),
    )
