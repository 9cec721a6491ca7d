"""What a receipt means, as far as it can be said without its text."""

from textback.core.message import Delivered, Sent
from textback.core.ports import Receipt


def usually(receipt: Receipt) -> type[Sent | Delivered] | None:
    """What a text is after `message.hear` that was Sent as what the receipt names.

    None: that takes a look at the text, or more comes of the receipt than that its text moves on.
    """
    if receipt.message_id is None or receipt.opted_out or receipt.read:
        return None
    match receipt.status:
        case "accepted" | "sent":
            return Sent
        case "delivered":
            return Delivered
        case "failed":
            return None
