"""A flow in a worker: where it is outlives each turn, a person, and the agent's taking up again."""

from tests.support.deployment import second
from tests.support.flows import engine
from tests.support.running import Shop

FLOW = """
nodes:
  - id: hello
    say: "Still ok?"
    edges: [{keywords: ["no"], to: when}]
  - id: when
    say: "Which hour?"
    extract: [{name: hour, pattern: "(\\\\d+)pm"}]
    until: {variables: [hour]}
    unclear: {say: "As 3pm, please.", times: 1, to: person}
    then: done
  - {id: done, say: "{{hour}}pm it is.", end: true}
  - {id: person, say: "A moment.", hand_off: "no hour", then: when}
"""


async def test_a_flow_goes_through_a_worker_a_person_and_back_to_its_end(shop: Shop):
    world, clock = shop.world, shop.clock
    shop.with_engine(engine(FLOW))
    said = ["Hello, is 2pm still fine?"]

    async def hears(text: str, answer: str) -> None:
        clock.now = second(60 * len(said))
        await world.hear(text, now=clock.now)
        said.append(answer)
        await shop.until_said(*said)

    async with shop.working():
        accepted = await world.accept(said[0])
        await shop.until_said(*said)
        await hears("no", "Which hour?")
        await hears("hm", "As 3pm, please.")
        await hears("eh", "A moment.")
        assert (await world.talk(accepted.conversation_id)).state == "handed_off"
        await world.resume(accepted.conversation_id, now=clock.now)
        await hears("thanks", "Which hour?")
        await hears("4pm", "4pm it is.")
    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "agent_ended")
