"""Bland AI's routes, together."""

import json

from textback.api.dialect import Dialect
from textback.dialects.bland import (
    batch_routes,
    conversation_routes,
    legacy_routes,
    number_routes,
    reading_routes,
    send_routes,
    wire,
)
from textback.dialects.bland.answer import new_router

router = new_router()
for each in (
    send_routes,
    batch_routes,
    conversation_routes,
    reading_routes,
    number_routes,
    legacy_routes,
):
    router.routes.extend(each.router.routes)


def _fault(status: int, sentence: str) -> tuple[str, bytes]:
    codes = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 500: "INTERNAL_ERROR"}
    body = wire.refused(codes.get(status, "INVALID_REQUEST"), sentence)
    return "application/json", json.dumps(body).encode()


DIALECT = Dialect(
    name="bland",
    title="textback: Bland AI",
    description="Bland AI's SMS routes (https://docs.bland.ai/api-v1/post/sms-send).",
    router=router,
    fault=_fault,
    under=("/v1/sms/", "/v1/files/"),
)
