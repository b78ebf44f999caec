"""Which jobs are the steps of a trainer job."""

import sqlalchemy as sa
from alembic import op

revision = "0008_steps_of_trainer_jobs"
down_revision = "0007_forks_of_jobs"


def upgrade() -> None:
    op.create_table(
        "trainer_steps",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("trainer", sa.String(length=63), nullable=False),
        sa.Column("output_model", sa.String(), nullable=False),
        sa.Column("taken_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner", "trainer"],
            ["trainer_jobs.owner", "trainer_jobs.id"],
        ),
        sa.PrimaryKeyConstraint("job_id"),
    )


def downgrade() -> None:
    op.drop_table("trainer_steps")
