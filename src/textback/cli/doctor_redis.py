"""What `textback doctor` asks of Redis."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from textback.core.gcra import Rate
from textback.core.ports import Finding, Unreachable
from textback.limiter import RedisLimiter
from textback.settings import Settings

OLDEST: Final = 6
FULL: Final = 0.8
SECONDS: Final = 3.0


async def findings(found: Settings) -> list[Finding]:
    url = found.need("redis_url")["redis_url"]
    limiter = RedisLimiter(url)
    try:
        await limiter.take("doctor", Rate(1000, 1))
    except Unreachable as error:
        what = f"Redis cannot be reached ({error}): limits hold per process, nothing is sent"
        fix = "Check TEXTBACK_REDIS_URL, and that Redis runs."
        return [Finding(ok=False, what=what, fix=fix)]
    finally:
        await limiter.close()
    said = await _info(url)
    if said is None:
        return [Finding(ok=True, what="Redis reached; it does not tell this user of itself")]
    return judged(said, url)


def judged(said: Mapping[str, Any], url: str) -> list[Finding]:
    """`said`: what its INFO says."""
    return [_version(said), *_memory(said), *_encryption(url)]


async def _info(url: str) -> Mapping[str, Any] | None:
    redis = Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)  # pyright: ignore[reportUnknownMemberType]
    try:
        return cast("Mapping[str, Any]", await redis.info())  # pyright: ignore[reportUnknownMemberType]
    except (NoPermissionError, RedisError):
        return None
    finally:
        await redis.aclose()


def _version(said: Mapping[str, Any]) -> Finding:
    version = str(said.get("redis_version", "0"))
    name = f"Valkey {said['valkey_version']}" if "valkey_version" in said else f"Redis {version}"
    if int(version.partition(".")[0]) < OLDEST:
        return Finding(
            ok=False,
            what=f"{name} is older than any version this was tried with",
            fix=f"Use Redis {OLDEST} or newer, or Valkey.",
        )
    return Finding(ok=True, what=f"Redis reached: {name}")


def _memory(said: Mapping[str, Any]) -> Iterator[Finding]:
    most, used = int(said.get("maxmemory", 0)), int(said.get("used_memory", 0))
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if most and policy != "noeviction":
        yield Finding(
            ok=False,
            what=f"Redis forgets limits when its memory is full (maxmemory-policy {policy}): then "
            "texts go out faster than their numbers may send",
            fix="Give textback a Redis of its own with maxmemory-policy noeviction.",
        )
    if most and used > FULL * most:
        yield Finding(
            ok=False,
            what=f"Redis uses {used / most:.0%} of its memory; full, it refuses, and nothing is "
            "sent",
            fix="Raise maxmemory, or look at what else is kept in it.",
        )


def _encryption(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "redis" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        yield Finding(
            ok=True,
            what="the connection to Redis crosses a network in clear text",
            fix="Well in a network of your own; else use a rediss:// URL.",
        )
