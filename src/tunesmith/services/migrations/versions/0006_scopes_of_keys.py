"""What a key may do, and how long. Those that are there may do everything, for ever."""

import sqlalchemy as sa
from alembic import op

revision = "0006_scopes_of_keys"
down_revision = "0005_logins"


def upgrade() -> None:
    op.add_column("keys", sa.Column("scope", sa.String(length=8), nullable=False, server_default="admin"))
    op.add_column("keys", sa.Column("expires_at", sa.String))
