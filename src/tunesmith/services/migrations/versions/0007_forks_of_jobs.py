"""Which job one is a fork of. Those that are there began by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0007_forks_of_jobs"
down_revision = "0006_scopes_of_keys"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", sa.String(length=64)))
    op.add_column("jobs", sa.Column("forked", sa.JSON, nullable=False, server_default="{}"))
    op.create_index("ix_jobs_parent", "jobs", ["parent"])


def downgrade() -> None:
    op.drop_index("ix_jobs_parent", "jobs")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("forked")
        table.drop_column("parent")
