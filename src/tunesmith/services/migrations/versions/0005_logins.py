"""logins of the web page."""

import sqlalchemy as sa
from alembic import op

revision = "0005_logins"
down_revision = "0004_evaluators_and_records"


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("expires_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )


def downgrade() -> None:
    op.drop_table("logins")
