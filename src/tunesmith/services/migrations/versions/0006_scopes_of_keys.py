"""What a key may do, and how long. Those that are there may do everything, for ever."""

import sqlalchemy as sa
from alembic import op

revision = "0006_scopes_of_keys"
down_revision = "0005_logins"


def upgrade() -> None:
    op.add_column("keys", sa.Column("scope", sa.String(length=8), nullable=False, server_default="admin"))
    op.add_column("keys", sa.Column("expires_at", sa.String))


def downgrade() -> None:
    # A key that may not do everything, or not for ever, would be one that may.
    op.execute("DELETE FROM keys WHERE scope <> 'admin' OR expires_at IS NOT NULL")
    with op.batch_alter_table("keys") as table:
        table.drop_column("expires_at")
        table.drop_column("scope")
