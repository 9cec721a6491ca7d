"""A text's addresses, as its carrier wrote them -> the pair of numbers that it belongs to."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import phone
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.db import inbound, tenants
from textback.db.tenants import NumberRow


@dataclass(frozen=True, slots=True)
class Route:
    number: NumberRow
    user: Phone


async def find(
    c: AsyncConnection, carrier_id: CarrierId, user: Phone, said: Inbound
) -> Route | None:
    """None: nobody here has that number, at that carrier. `user`: the sender, checked.

    Pairs are of one channel (D4), with one exception: what we sent through a Messaging Service may
    have reached the user as SMS, from a number of its pool, and the answer comes by SMS to that
    number. It joins the live conversation that is there, an SMS one first; else it goes on where
    the user was last in touch. A number of the pool that is not provisioned itself has no other.
    """
    travels_on = phone.channel(user)
    to = phone.agent_address(said.agent_number)
    plain = None
    if to is not None and phone.channel(to) == travels_on:
        plain = await _ours(c, carrier_id, to)
    service = said.messaging_service_sid or ""
    if travels_on not in {"sms", "rcs"} or not phone.is_messaging_service(service):
        return None if plain is None else Route(plain, user)
    pool = await _ours(c, carrier_id, Phone(service))
    if pool is None or travels_on == "rcs":
        number = pool or plain
        return None if number is None else Route(number, user)
    by_rcs = Phone(f"rcs:{user}")
    if plain is None or await inbound.is_at_home(
        c, (pool.number, by_rcs), rather_than=(plain.number, user)
    ):
        return Route(pool, by_rcs)
    return Route(plain, user)


async def _ours(c: AsyncConnection, carrier_id: CarrierId, number: Phone) -> NumberRow | None:
    found = await tenants.find_number(c, number)
    return found if found is not None and found.carrier_id == carrier_id else None
