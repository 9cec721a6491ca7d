"""The least that can answer, without a framework: the load generator's ceiling."""

from typing import Any


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:  # noqa: ANN401
    if scope["type"] != "http":
        return
    headers = [
        (b"content-length", b"0"),
        (b"x-conversation-id", b"conv_0"),
        (b"x-message-id", b"m"),
    ]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
