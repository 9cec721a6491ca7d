"""The same job written as tutorials do: dependencies, an ORM session, three adds, commit, Redis.

Its tables are its own, in the schema `textbook` of the same Postgres.
"""

import hashlib
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from secrets import token_hex
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateSchema

KEY, CONNECTOR = os.environ["BENCH_KEY"], os.environ["BENCH_CONNECTOR"]
LIMIT, WINDOW = 100_000_000, 60

# A sliding window counter: this window's count, and the part of the last one's that still counts.
SLIDING_WINDOW = """
local before = tonumber(redis.call('get', KEYS[2]) or '0')
local now = redis.call('incr', KEYS[1])
if now == 1 then redis.call('expire', KEYS[1], 2 * tonumber(ARGV[2])) end
if before * tonumber(ARGV[3]) + now > tonumber(ARGV[1]) then return -1 end
return now
"""


class Base(DeclarativeBase):
    metadata = MetaData(schema="textbook")
    type_annotation_map = {dict[str, Any]: JSONB}  # noqa: RUF012 - SQLAlchemy's own form


class ApiKey(Base):
    __tablename__ = "api_keys"
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[str]


class Connector(Base):
    __tablename__ = "connectors"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]


class Conversation(Base):
    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    user_number: Mapped[str] = mapped_column(index=True)
    opened_at: Mapped[datetime]


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey(Conversation.id), index=True)
    text: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)


class Event(Base):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey(Message.id), index=True)
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]


engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=10
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
redis = cast("Any", Redis).from_url(os.environ["BENCH_REDIS_URL"])
sliding_window = redis.register_script(SLIDING_WINDOW)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with engine.begin() as c:
        await c.execute(CreateSchema("textbook", if_not_exists=True))
        await c.run_sync(Base.metadata.create_all)
        key = {"hash": hashlib.sha256(KEY.encode()).digest(), "account_id": "bench"}
        await c.execute(insert(ApiKey).values(key).on_conflict_do_nothing())
        connector = {"id": CONNECTOR, "account_id": "bench"}
        await c.execute(insert(Connector).values(connector).on_conflict_do_nothing())
    yield
    await engine.dispose()
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


class OutboundSms(BaseModel):
    user_number: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")]
    message: Annotated[str | None, Field(min_length=1, max_length=1600)] = None
    agent_number: str | None = None


async def session() -> AsyncGenerator[AsyncSession]:
    async with sessions() as found:
        yield found


async def account(
    db: Annotated[AsyncSession, Depends(session)],
    x_polyai_auth_token: Annotated[str, Header()],
    x_token_id: Annotated[str, Header()],
) -> str:
    key = hashlib.sha256(x_polyai_auth_token.encode()).digest()
    found = await db.scalar(
        select(Connector.account_id)
        .join(ApiKey, ApiKey.account_id == Connector.account_id)
        .where(ApiKey.hash == key, Connector.id == x_token_id)
    )
    if found is None:
        raise HTTPException(401)
    return found


async def limited(account_id: Annotated[str, Depends(account)]) -> str:
    window, into = divmod(time.time(), WINDOW)
    keys = [f"textbook:{account_id}:{window - back:.0f}" for back in (0, 1)]
    if await sliding_window(keys=keys, args=[LIMIT, WINDOW, 1 - into / WINDOW]) == -1:
        raise HTTPException(429)
    return account_id


@app.post("/v1/outbound-sms", status_code=202)
async def outbound_sms(
    sms: OutboundSms,
    db: Annotated[AsyncSession, Depends(session)],
    account_id: Annotated[str, Depends(limited)],
) -> Response:
    conversation, message = f"conv_{token_hex(16)}", f"msg_{token_hex(16)}"
    now = datetime.now(UTC).replace(tzinfo=None)  # noqa: TID251 - not ours
    db.add(
        Conversation(
            id=conversation, account_id=account_id, user_number=sms.user_number, opened_at=now
        )
    )
    await db.flush()
    db.add(
        Message(id=message, conversation_id=conversation, text=sms.message or "", state="queued")
    )
    await db.flush()
    db.add(Event(message_id=message, kind="message.queued", data={"text": sms.message}))
    await db.commit()
    headers = {"X-Conversation-Id": conversation, "X-Message-Id": message}
    return Response(status_code=202, headers=headers)
