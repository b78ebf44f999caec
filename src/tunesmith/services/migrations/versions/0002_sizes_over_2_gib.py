"""Sizes in bytes over 2 GiB, which PostgreSQL refuses in a column of four bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0002_sizes_over_2_gib"
down_revision = "0001_release_0_1"


def upgrade() -> None:
    for table, column in (("checkpoints", "size_bytes"), ("datasets", "num_bytes")):
        with op.batch_alter_table(table) as changed:
            changed.alter_column(column, existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
