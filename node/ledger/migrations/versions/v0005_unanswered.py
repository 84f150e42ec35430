"""Deliveries: attempts that the peer did not answer, and since when the result is due."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; what is open already counts as due since its next attempt."""
    op.add_column("deliveries", sa.Column("unanswered", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("due_since", sa.DateTime(), nullable=True))
    op.execute("UPDATE deliveries SET due_since = next_at")


def downgrade() -> None:
    """Drop them."""
    for name in ("unanswered", "due_since"):
        op.drop_column("deliveries", name)
