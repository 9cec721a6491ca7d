"""The endpoint that accepting is held against: FastAPI, a pydantic body, two headers, no I/O."""

from typing import Annotated

from fastapi import FastAPI, Header, Response
from pydantic import BaseModel, Field

app = FastAPI()


class OutboundSms(BaseModel):
    user_number: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]
    message: Annotated[str | None, Field(min_length=1, max_length=1600)] = None
    agent_number: str | None = None


@app.post("/v1/outbound-sms", status_code=202)
async def outbound_sms(
    sms: OutboundSms,
    x_polyai_auth_token: Annotated[str, Header()],
    x_token_id: Annotated[str, Header()],
) -> Response:
    headers = {"X-Conversation-Id": x_token_id, "X-Message-Id": sms.user_number}
    return Response(status_code=202, headers={**headers, "X-Key": x_polyai_auth_token[:4]})
