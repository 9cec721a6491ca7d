"""What all tables share: names of constraints that do not change, and times with a zone."""

from sqlalchemy import CheckConstraint, DateTime, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

WHEN = DateTime(timezone=True)


def check(name: str, rule: str) -> CheckConstraint:
    return CheckConstraint(rule, name=name)
