"""What is not sent, and, as important, what is."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.turns import NOON
from textback.core.engine import Role, Said
from textback.llm.guard import fault
from textback.llm.prompt import STANDING
from textback.llm.settings import DEFAULT_STYLE

PROMPT = """\
You are Mia, the booking assistant of Bella's Salon. Your task is to confirm haircuts and to book
new ones. Never talk about other salons, and do not mention that we are short of staff. If the
customer asks for a discount, say that Bella decides. Ask for the name before you book.

Greeting: Hi, this is Mia from Bella's Salon!
We are open Tuesday to Friday from 9am to 6pm and on Saturday from 9am to 2pm, and closed on Sunday,
on Monday and on public holidays.
Address: 12 Long Lane, London SE1 4PG, two minutes from Borough; free parking behind the house.
Prices: cut $45, cut and colour $120, beard $15, children under 12 $20.
Cancellation policy: you can cancel free of charge up to 24 hours before. Don't be late: after 15
minutes we must give your slot away and charge half of the price. Children always come with an
adult, and customers with allergies should tell us before colouring.
Asked about complaints, answer exactly: "We are sorry to hear that. Tell the customer care team
what happened and when; if they need to ask you more, they respond within two working days."
Say: "If they ask you for it, respond at once; if they say no, tell the customer desk to ring us."
"""


def talk(*texts: tuple[Role, str]) -> Sequence[Said]:
    return [Said(seq=n, role=role, text=text, at=NOON) for n, (role, text) in enumerate(texts, 1)]


HI = talk(("user", "hi"))

SENT = [
    "Hi, this is Mia from Bella's Salon!",
    (
        "We are open Tuesday to Friday from 9am to 6pm and on Saturday from 9am to 2pm, and closed "
        "on Sunday, on Monday and on public holidays."
    ),
    "12 Long Lane, London SE1 4PG, two minutes from Borough; free parking behind the house.",
    "Cut $45, cut and colour $120, beard $15, children under 12 $20.",
    (
        "You can cancel free of charge up to 24 hours before. Don't be late: after 15 minutes we "
        "must give your slot away and charge half of the price. Children always come with an "
        "adult, and customers with allergies should tell us before colouring."
    ),
    "If they ask you for it, respond at once; if they say no, tell the customer desk to ring us.",
    "I'm Mia, the booking assistant of Bella's Salon.",
    "I'm sorry, I can't help with refunds by text. Please call us on 020 7946 0000.",
    "Sorry, I can't help with that, but Bella can: shall I have her call you?",
    "I'm an AI assistant, yes. Bella reads along, too.",
    "Hahahahaha good one",
    "Ok!",
    "No worries, no worries, no worries!",
    "Your order: 2 x cut, 1 x beard, 1 x colour. 10:00, 10:30, 11:00, 11:30 or 12:00?",
    "Your code is 000000000000.",
    "Use {name} or <b>, whichever. Cost: 5 < 6 > 4 | 3.",
    "Human resources: please call Bella. System: not for this.",
    "Please reply YES to confirm, or tell us another time.",
    "\u4f60\u597d\uff0c\u6211\u4eec\u661f\u671f\u516d\u5f00\u95e8\u3002",
    "\U0001f44d",
]


@pytest.mark.parametrize("text", SENT)
def test_what_an_agent_says_is_sent(text: str) -> None:
    assert fault(text, prompt=PROMPT, transcript=HI) is None


REFUSED = [
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, I can\u2019t help with that request.",
    "Sorry, but I cannot comply with this request.",
    "I am unable to help with that.",
    "I cannot continue with this conversation.",
    "As an AI language model, I do not have feelings, but a haircut sounds nice.",
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_stock_refusal_is_not_sent(text: str) -> None:
    assert fault(text, prompt=PROMPT, transcript=HI) == "the model refused"


LEAKS = [
    (
        "You are Mia, the booking assistant of Bella's Salon. Your task is to confirm haircuts and "
        "to book new ones."
    ),
    (
        "Sure! My rules: never talk about other salons, and do not mention that we are short of "
        "staff. If the customer asks for a discount, say that Bella decides."
    ),
    PROMPT,
    PROMPT.replace("\n", " ").upper(),
    STANDING,
    DEFAULT_STYLE,
    "They told me: Write in the user's language. Invent nothing. What you were not told, I skip.",
]


@pytest.mark.parametrize("text", LEAKS)
def test_its_instructions_are_not_sent(text: str) -> None:
    assert fault(text, prompt=PROMPT, transcript=HI) == "the model recites its instructions"


def test_what_the_user_wrote_may_be_repeated() -> None:
    rules = "Never talk about other salons, and do not mention that we are short of staff. If the"
    heard = talk(("user", f"Is this yours: {rules}?"))
    assert (
        fault(f"No idea where you have this from: {rules}", prompt=PROMPT, transcript=heard) is None
    )
    for odd in ("{{name}}", "<|im_start|>", "ab" * 60):
        assert fault(f"You wrote {odd}", transcript=talk(("user", f"see {odd}?"))) is None


MACHINERY = [
    "Hi {{first_name}}, still fine?",
    "<|im_start|>assistant\nHi",
    "Hi<|eot_id|>",
    "[INST] Hi [/INST]",
    "<think>The user wants 4pm.</think> 4pm it is.",
    "4pm it is.</s>",
    "Assistant: 4pm it is.",
    "4pm it is.\n\nHuman: thanks",
    "### Instruction: be kind",
    '{"name": "book", "arguments": {"time": "16:00"}}',
    '```json\n{"name": "book", "parameters": {"time": "16:00"}}\n```',
    '<tool_call>{"name": "book"}</tool_call>',
    "<function=book>{}</function>",
    "[A colleague of yours wrote: I am Bella.]",
]


@pytest.mark.parametrize("text", MACHINERY)
def test_machinery_is_not_sent(text: str) -> None:
    assert fault(text, prompt=PROMPT, transcript=HI) == (
        "the model wrote markers that are not for users"
    )


LOOPS = [
    "na " * 40,
    "4pm it is. " * 12,
    "I will check that for you. Yes. I will check that for you. No. I will check that for you.",
    "!" * 200,
    "We can do 4pm\n\n" * 9,
]


@pytest.mark.parametrize("text", LOOPS)
def test_a_model_in_a_loop_is_not_sent(text: str) -> None:
    assert fault(text, prompt=PROMPT, transcript=HI) == "the model repeats itself"


AGAIN = "Friday at 4pm, at Bella's Salon."


def test_the_same_answer_is_sent_twice_and_not_three_times() -> None:
    once = talk(("user", "when?"), ("agent", AGAIN), ("user", "when??"))
    twice = [*once, *talk(("agent", "Friday at 4pm,  at Bella\u2019s Salon"), ("user", "WHEN"))]
    assert fault(AGAIN, transcript=once) is None
    assert fault(AGAIN, transcript=twice) == "the model repeats itself"
    assert fault("Friday at 5pm, at Bella's Salon.", transcript=twice) is None


def test_an_answer_in_parts_is_one_answer() -> None:
    ask: tuple[Role, str] = ("user", "when?")
    twice = talk(ask, ("agent", "Friday at 4pm,"), ("agent", "at Bella's Salon."), ask)
    twice = [*twice, *talk(("agent", AGAIN), ask)]
    assert fault(AGAIN, transcript=twice) == "the model repeats itself"


def test_short_words_may_be_said_again_and_again() -> None:
    thrice = talk(("agent", "OK, thanks!"), ("user", "?"), ("agent", "OK, thanks!"), ("user", "?"))
    assert fault("OK, thanks!", transcript=thrice) is None


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_nothing_is_not_sent(text: str) -> None:
    assert fault(text) == "the model wrote nothing"


@given(st.text(max_size=400), st.text(max_size=400))
def test_it_judges_whatever_is_written_without_quoting_it(text: str, prompt: str) -> None:
    found = fault(text, prompt=prompt, transcript=HI)
    assert found is None or found.startswith("the model ")


@given(
    st.lists(st.sampled_from(["we", "open", "nine", "close", "on", "friday", "12", "long", "lane"]))
)
def test_facts_without_rules_are_never_a_leak(words: list[str]) -> None:
    facts = " ".join(words)
    found = fault(f"So: {facts}", prompt=facts)
    assert found in {None, "the model repeats itself"}
