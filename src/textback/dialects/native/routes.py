"""Our own routes, put together: a router per subject."""

from textback.api.dialect import Dialect
from textback.dialects.native import (
    access_routes,
    admin_routes,
    app_routes,
    batch_routes,
    conversation_routes,
    delivery_routes,
    message_routes,
    opt_out_routes,
    serving,
    usage_routes,
    webhook_routes,
    wire,
)

_SUBJECTS = (
    message_routes,
    conversation_routes,
    batch_routes,
    opt_out_routes,
    webhook_routes,
    delivery_routes,
    usage_routes,
    admin_routes,
    access_routes,
    app_routes,
)

router = serving.router("Native")
for subject in _SUBJECTS:
    # Not include_router, which hides the routes from who looks for their paths.
    router.routes.extend(subject.router.routes)


def _fault(status: int, sentence: str) -> tuple[str, bytes]:
    return serving.PROBLEM, wire.fault(status, sentence).model_dump_json().encode()


DIALECT = Dialect(
    name="native",
    title="textback: our own",
    description="Everything that textback can do.",
    router=router,
    fault=_fault,
)
