"""What a sender did with a series: its pauses, a change of sender, objects that came again for another patient."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns. Objects that came under a known UID with other content are used in no revision so far."""
    op.add_column("jobs", sa.Column("pause", sa.Float(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("other_sender", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("corrected", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE instances SET revision = 0 WHERE variant > 0")


def downgrade() -> None:
    """Drop them."""
    for name in ("pause", "other_sender", "corrected"):
        op.drop_column("jobs", name)
