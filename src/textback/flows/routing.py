"""A text's addresses, as its carrier wrote them -> the pair of numbers that it belongs to."""

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import phone
from textback.core.frozen import frozen
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.db import inbound, tenants
from textback.db.book import Look
from textback.db.session import transaction
from textback.db.tenants import NumberRow


@frozen(kw_only=False)
class Route:
    number: NumberRow
    user: Phone


async def find(
    db: AsyncEngine, look: Look, carrier_id: CarrierId, user: Phone, said: Inbound
) -> Route | None:
    """None: nobody here has that number, at that carrier. `user`: the sender, checked.

    Pairs are of one channel (D4), with one exception: what we sent through a Messaging Service may
    have reached the user as SMS, from a number of its pool, and the answer comes by SMS to that
    number. It joins the live conversation that is there, an SMS one first; else it goes on where
    the user was last in touch. A number of the pool that is not provisioned itself has no other.

    Raises Unavailable.
    """
    travels_on = phone.channel(user)
    to = phone.agent_address(said.agent_number)
    plain = None
    if to is not None and phone.channel(to) == travels_on:
        plain = await _ours(look, carrier_id, to)
    service = said.messaging_service_sid or ""
    if travels_on not in {"sms", "rcs"} or not phone.is_messaging_service(service):
        return None if plain is None else Route(plain, user)
    pool = await _ours(look, carrier_id, Phone(service))
    if pool is None or travels_on == "rcs":
        number = pool or plain
        return None if number is None else Route(number, user)
    by_rcs = Phone(f"rcs:{user}")
    if plain is None or await _is_at_home(
        db, (pool.number, by_rcs), rather_than=(plain.number, user)
    ):
        return Route(pool, by_rcs)
    return Route(plain, user)


async def _is_at_home(
    db: AsyncEngine, pair: tuple[Phone, Phone], *, rather_than: tuple[Phone, Phone]
) -> bool:
    async with transaction(db) as c:
        return await inbound.is_at_home(c, pair, rather_than=rather_than)


async def _ours(look: Look, carrier_id: CarrierId, number: Phone) -> NumberRow | None:
    found = await look.get(("number", number), lambda c: tenants.find_number(c, number))
    return found if found is not None and found.carrier_id == carrier_id else None
