"""A series keeps the time that stands in its result objects."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FIRST = """
UPDATE series SET created_at = (
    SELECT complete_at FROM jobs
    WHERE jobs.series_id = series.id AND complete_at IS NOT NULL ORDER BY revision LIMIT 1
)
"""


def upgrade() -> None:
    """Add the column; known series take the time of their first complete revision."""
    op.add_column("series", sa.Column("created_at", sa.DateTime(), nullable=True))
    op.execute(FIRST)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("series", "created_at")
