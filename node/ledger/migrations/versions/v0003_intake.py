"""Associations and what they carried, variants of an instance, counted duplicates, routes, removed files."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NEW_COLUMNS = ("called_ae", "duplicates", "expected", "forced", "route", "model", "removed_at")


def upgrade() -> None:
    """Add tables and columns; what is there already is a first variant that nobody has sent twice."""
    op.create_table(
        "associations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("receiver", sa.String(length=128), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("called_ae", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("ending", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_associations")),
    )
    op.create_index(op.f("ix_associations_ended_at"), "associations", ["ended_at"], unique=False)
    op.create_table(
        "carried",
        sa.Column("association_id", sa.String(length=32), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["association_id"], ["associations.id"], name=op.f("fk_carried_association_id")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_carried_series_id")),
        sa.PrimaryKeyConstraint("association_id", "series_id", name=op.f("pk_carried")),
    )
    op.create_index(op.f("ix_carried_series_id"), "carried", ["series_id"], unique=False)
    op.create_table(
        "removals",
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_removals")),
    )
    with op.batch_alter_table("instances") as table:
        table.add_column(sa.Column("variant", sa.Integer(), nullable=False, server_default="0"))
        table.drop_constraint("uq_instances_sop_uid", type_="unique")
        table.create_unique_constraint("uq_instances_series_id_sop_uid_variant", ["series_id", "sop_uid", "variant"])
    op.add_column("jobs", sa.Column("called_ae", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("duplicates", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("expected", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("route", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("model", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("removed_at", sa.DateTime(), nullable=True))


def downgrade() -> None:
    """Drop them; of each UID only the first instance stays."""
    for name in NEW_COLUMNS:
        op.drop_column("jobs", name)
    op.execute("DELETE FROM instances WHERE variant > 0")
    op.execute("DELETE FROM instances WHERE id NOT IN (SELECT min(id) FROM instances GROUP BY sop_uid)")
    with op.batch_alter_table("instances") as table:
        table.drop_constraint("uq_instances_series_id_sop_uid_variant", type_="unique")
        table.drop_column("variant")
        table.create_unique_constraint("uq_instances_sop_uid", ["sop_uid"])
    for name in ("removals", "carried", "associations"):
        op.drop_table(name)
