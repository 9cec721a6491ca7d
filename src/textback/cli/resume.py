"""`textback resume`: an operator ends a pause."""

from textback import wiring
from textback.cli.context import fail
from textback.core.errors import WrongState
from textback.core.ids import ConversationId
from textback.db.session import create_engine
from textback.flows import operate
from textback.settings import Settings


async def run(found: Settings, conversation_id: str) -> None:
    db = create_engine(found.need("database_url")["database_url"], pool_size=2)
    try:
        kept = await operate.resume(db, ConversationId(conversation_id), now=wiring.clock())
    except WrongState as error:
        raise fail(str(error)) from None
    finally:
        await db.dispose()
    texts = "1 text" if kept == 1 else f"{kept} texts"
    then = f"the agent answers {texts} that it kept." if kept else "no text was kept meanwhile."
    print(f"{conversation_id} is resumed; {then}")
