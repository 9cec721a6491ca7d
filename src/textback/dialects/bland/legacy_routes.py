"""Routes from before `sms_config`, in shapes of their own: `{"status": ...}`.

https://docs.bland.ai/api-v1/post/sms-number-update, -sms-webhook-update, -sms-toggle-human
"""

from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.dialects.bland import configuring, openapi, wire
from textback.dialects.bland.answer import Asked, answer, new_router
from textback.dialects.bland.number_routes import change
from textback.dialects.bland.sending import MAX_OBJECTIVE
from textback.dialects.bland.wire import Body

router = new_router()

Number = Annotated[str, Field(description="One of your account's, in E.164 form.")]


class Update(Body):
    phone_number: Number
    channel: str | None = None
    prompt: Annotated[
        str | None, Field(max_length=MAX_OBJECTIVE, description="The number's `objective`.")
    ] = None
    ignore_keywords: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]] | None,
        Field(
            max_length=100, description="A text with one of these in it gets no answer; null: none."
        ),
    ] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None


class Webhook(Body):
    phone_number: Number
    webhook: Annotated[
        str | None, Field(description="What is absent stays, null takes it back.")
    ] = None


class Toggle(Body):
    phone_number: Number
    on: Annotated[bool, Field(description="true: the agent does not reply.")]


_STATUS: Final = openapi.fields(status=openapi.text("What was done."))


@router.post(
    "/v1/sms/update",
    **openapi.route(
        "updateSmsPrompt",
        "Say how a number's agent replies",
        "As `/v1/sms/number/update`, which can say more.",
        _STATUS,
        asked=openapi.schema(Update),
        refusals=(404,),
    ),
)
async def update(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(Update, asked.body, {"prompt": "INVALID_OBJECTIVE"})
        words = {"prompt": "objective", "temperature": "temperature"}
        said: dict[str, Any] = {
            words[name]: asked.body[name] or None for name in words if name in asked.body
        }
        if "ignore_keywords" in asked.body:
            said["ignore_keywords"] = it.ignore_keywords or None
        await change(asked, configuring.number(it.phone_number, it.channel), said)
        return JSONResponse({"status": "Prompt updated"})

    return await answer(request, "manage", act)


@router.post(
    "/v1/sms/webhook/update",
    **openapi.route(
        "updateSmsWebhook",
        "Say where the events of a number's conversations go",
        "As `webhook` of `/v1/sms/number/update`.",
        _STATUS,
        asked=openapi.schema(Webhook),
        refusals=(404,),
    ),
)
async def webhook(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(Webhook, asked.body)
        said = {"webhook": it.webhook} if "webhook" in asked.body else {}
        await change(asked, configuring.number(it.phone_number), said)
        return JSONResponse({"status": "success"})

    return await answer(request, "manage", act)


@router.post(
    "/v1/sms/toggle",
    **openapi.route(
        "toggleSmsReplies",
        "Let a number's agent reply, or not",
        "While it does not, what users say is kept.",
        _STATUS,
        asked=openapi.schema(Toggle),
        refusals=(404,),
    ),
)
async def toggle(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        it = wire.read(Toggle, asked.body)
        await change(asked, configuring.number(it.phone_number), {"human_mode": it.on or None})
        return JSONResponse({"status": f"Turned human mode {'on' if it.on else 'off'}"})

    return await answer(request, "manage", act)
