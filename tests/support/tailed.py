"""What `textback tail` shows."""

from datetime import UTC, datetime

from textback.db.event_tail import Happened


def happened(kind: str, **data: object) -> Happened:
    return Happened(
        id=7,
        at=datetime(2026, 3, 2, 9, tzinfo=UTC),
        kind=kind,
        account_id="acme",
        project_id="reminders",
        conversation_id="conv_1",
        message_id="msg_1",
        agent_number="+14155550100",
        user_number="+14155550123",
        data=data,
    )
