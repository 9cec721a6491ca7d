"""What engines do wrong is counted by kind; that nobody wants their answer is not wrong."""

from typing import Any, Final, cast

from prometheus_client import REGISTRY

from tests.support.deployment import FALLBACK
from tests.support.doubles import EngineDouble
from tests.support.running import Shop
from textback.core.engine import TurnFailed, TurnLost, TurnReply, TurnRequest

KINDS: Final = ("failed", "raised", "unusable", "cut_off")


def counted(kind: str) -> float:
    labels = {"engine": "enginedouble", "kind": kind}
    return REGISTRY.get_sample_value("textback_engine_errors_total", labels) or 0.0


def seconds(name: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_count") or 0.0


async def test_each_kind_of_trouble_is_told_apart(shop: Shop) -> None:
    engine = EngineDouble()

    def misbehave(request: TurnRequest) -> TurnReply | TurnFailed:
        match request.heard:
            case "fail":
                return TurnFailed("there is no model")
            case "raise":
                raise ZeroDivisionError
            case "lose":
                raise TurnLost
            case "lie":
                return cast("Any", {"texts": "none"})
            case _:
                return TurnReply(texts=["Hello"])

    engine.on_reply = misbehave
    shop.with_engine(engine, fallback=FALLBACK)
    before = {kind: counted(kind) for kind in KINDS}
    turns = seconds("textback_turn_seconds")
    for nth, words in enumerate(("fail", "raise", "lose", "lie", "hello")):
        await shop.world.hear(words, user=f"+1415555016{nth}")

    async with shop.working():

        async def all_ended() -> bool:
            return len([t for t in await shop.world.turns() if t.outcome is not None]) == 5

        await shop.until(all_ended)

    assert {kind: counted(kind) - before[kind] for kind in KINDS} == {
        "failed": 1,
        "raised": 1,
        "unusable": 1,
        "cut_off": 0,
    }
    assert seconds("textback_turn_seconds") == turns + 5
