"""Numbers, and what is said of them: `GET /v1/sms/numbers`, `POST /v1/sms/number/update`."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from textback.core import phone
from textback.core.defaults import Defaults
from textback.core.phone import Phone
from textback.dialects.bland import configuring, openapi, sending
from textback.dialects.bland.answer import Asked, answer, good, new_router
from textback.dialects.bland.configuring import Config
from textback.flows import number_settings

router = new_router()

_CONFIG: Final = openapi.fields(**dict.fromkeys(configuring.EMPTY, openapi.ANYTHING))
_CHANNEL: Final = {
    "name": "channel",
    "in": "query",
    "required": False,
    "description": "sms, the default, or whatsapp.",
    "schema": {"type": "string", "enum": ["sms", "whatsapp"]},
}


@router.get(
    "/v1/sms/numbers",
    **openapi.route(
        "listSmsNumbers",
        "The account's numbers",
        "With what was said of each by `/v1/sms/number/update`.",
        openapi.enveloped(
            {
                "type": "array",
                "items": openapi.fields(
                    phone_number=openapi.text("In E.164 form, or a short code."),
                    sms_config=_CONFIG,
                    conversation_count={"type": "integer", "minimum": 0},
                ),
            }
        ),
        query=(_CHANNEL,),
    ),
)
async def numbers(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        on = sending.channel(asked.query.get("channel"))
        found = await number_settings.listed(asked.rt.db, asked.account_id)
        return good(
            [
                {
                    "phone_number": phone.bare(each.number),
                    "sms_config": configuring.shown(each.config.get("bland", {})),
                    "conversation_count": each.conversations or 0,
                }
                for each in found
                if phone.channel(each.number) == on
            ]
        )

    return await answer(request, "read", act)


@router.post(
    "/v1/sms/number/update",
    **openapi.route(
        "updateSmsNumber",
        "Say how conversations on a number begin",
        "What is absent stays, null takes it back. Live conversations stay as they are.",
        openapi.enveloped(openapi.fields(message=openapi.text("Done."), sms_config=_CONFIG)),
        asked=openapi.schema(configuring.Update),
        refusals=(404,),
    ),
)
async def update(request: Request) -> Response:
    async def act(asked: Asked) -> Response:
        number, said = configuring.read(asked.body)
        config = await change(asked, number, said)
        shown = phone.bare(number)
        return good(
            {
                "message": f"SMS config updated for number {shown}",
                "sms_config": configuring.shown(config),
            }
        )

    return await answer(request, "manage", act)


async def change(asked: Asked, number: Phone, said: Config) -> Config:
    """Raises Wrong, NumberNotProvisioned, UnknownAgent, Unavailable."""

    def make(config: Config) -> tuple[Config, Defaults]:
        after = configuring.changed(config, said)
        return after, configuring.defaults(after, private_urls=asked.rt.private_webhooks)

    return await number_settings.change(asked.rt.db, asked.account_id, number, "bland", make)
