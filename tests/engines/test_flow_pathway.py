"""Bland's pathways: as published they load and run; what cannot be run names its node."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import ValidationError

from tests.support.flows import A_MODEL
from tests.support.model import ModelDouble
from tests.support.talk import Talk
from tests.support.turns import NOON
from textback.engines.flow import FlowConfig, FlowEngine

MINIMAL = json.loads(
    (Path(__file__).parents[2] / "examples/pathway/pathway.json").read_text(encoding="utf-8")
)


def node(id_: str, type_: str = "Default", **data: object) -> Mapping[str, object]:
    return {"id": id_, "type": type_, "data": {"name": id_.title(), **data}}


def edge(source: str, target: str, label: str | None = None) -> Mapping[str, object]:
    drawn: dict[str, object] = {"id": f"{source}-{target}", "source": source, "target": target}
    return {**drawn, "data": {"label": label}} if label else drawn


def pathway(*parts: Mapping[str, object]) -> dict[str, object]:
    return {
        "nodes": [part for part in parts if "source" not in part],
        "edges": [part for part in parts if "source" in part],
    }


def engine(
    *parts: Mapping[str, object],
    model: ModelDouble | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    **settings: object,
) -> FlowEngine:
    given: dict[str, object] = {"pathway": pathway(*parts), **settings}
    if model is not None:
        given["model"] = A_MODEL
    config = FlowConfig.model_validate(given)
    return FlowEngine(config, model=model, clock=lambda: NOON, transport=transport)


def wrong(*parts: Mapping[str, object], **settings: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as refused:
        FlowConfig.model_validate({"pathway": pathway(*parts), "model": A_MODEL, **settings})
    return [
        (".".join(map(str, error["loc"])), str(error.get("ctx", {}).get("problem", error["msg"])))
        for error in refused.value.errors()
    ]


START = node("start", text="Hi!", isStart=True)


async def test_the_published_pathway_runs_with_a_model() -> None:
    model = ModelDouble(
        write_by=lambda _, __: "Thanks Ana, see you at 2pm!",
        choose_by=lambda _, heard: 0 if "fine" in heard else None,
    )
    config = FlowConfig.model_validate({"pathway": MINIMAL, "model": A_MODEL})
    talking = Talk(
        FlowEngine(config, model=model, clock=lambda: NOON), variables={"first_name": "Ana"}
    )
    await talking.opens()
    await talking.says("which day was that?")
    reply = await talking.says("ah yes, fine")
    assert reply.end_conversation
    assert talking.script == (
        "agent: Hi Ana, still ok for 2pm?\n"
        "user: which day was that?\n"
        "agent: Hi Ana, still ok for 2pm?\n"
        "user: ah yes, fine\n"
        "agent: Thanks Ana, see you at 2pm!"
    )
    choose, chose, write = model.asked
    assert list(choose.options) == list(chose.options) == ["user confirmed"]
    assert "Thank the user and say goodbye" in write.words


async def test_the_published_pathway_runs_without_a_model_once_its_labels_are_words() -> None:
    config = FlowConfig.model_validate(
        {
            "pathway": MINIMAL,
            "labels": {"user confirmed": {"keywords": ["yes"]}},
            "texts": {"2": "Bye {{first_name}}!"},
        }
    )
    talking = Talk(
        FlowEngine(config, model=None, clock=lambda: NOON), variables={"first_name": "Ana"}
    )
    await talking.opens()
    assert (await talking.says("eh")).texts == ("Hi Ana, still ok for 2pm?",)
    assert (await talking.says("Yes!")).texts == ("Bye Ana!",)


async def test_the_callers_message_stands_for_the_first_nodes() -> None:
    talking = Talk(engine(START, node("b", text="Ok."), edge("start", "b")))
    talking.opened("Hello, this is Acme.")
    assert (await talking.says("hi")).texts == ("Ok.",)


async def test_what_only_concerns_calls_or_the_editor_is_ignored() -> None:
    editors: dict[str, Any] = {**START, "position": {"x": 1}, "width": 9, "selected": False}
    editors["data"] = {**editors["data"], "interruptionThreshold": 100, "active": True, "tag": 1}
    parts = engine(editors, node("b", text="Ok."), {**edge("start", "b"), "animated": True})
    talking = Talk(parts)
    assert (await talking.opens()).texts == ("Hi!",)


async def test_nodes_that_nothing_leads_to_may_be_left_over() -> None:
    talking = Talk(engine(START, node("b", text="Other.")), start_node="b")
    assert (await talking.opens()).texts == ("Other.",)


async def test_the_global_prompt_and_the_nodes_own_are_told_to_the_model() -> None:
    model = ModelDouble(write_by=lambda _, __: "Hello.")
    start = node("start", prompt="Greet {{who}} now", isStart=True)
    shared = {"globalConfig": {"globalPrompt": "You are Kim of {{firm}}."}}
    talking = Talk(engine(start, shared, model=model), variables={"who": "Ana", "firm": "Acme"})
    assert (await talking.opens()).texts == ("Hello.",)
    told = model.asked[0].words
    assert told.index("You are Kim of Acme.") < told.index("Greet Ana now")


async def test_a_condition_holds_the_node_until_it_is_met() -> None:
    model = ModelDouble(
        write_by=lambda _, __: "And your name?",
        choose_by=lambda _, heard: 0 if "Ana" in heard else None,
    )
    start = node("start", prompt="Get the name", condition="the name is known", isStart=True)
    talking = Talk(engine(start, node("b", text="Hi."), edge("start", "b", "got it"), model=model))
    await talking.opens()
    assert (await talking.says("hm")).texts == ("And your name?",)
    assert (await talking.says("Ana")).texts == ("Hi.",)
    asked = [asked for asked in model.asked if asked.what == "choose"]
    assert "Choose 1 only if this is so: the name is known" in asked[0].words
    assert list(asked[0].options) == ["got it"]


async def test_a_condition_alone_guards_the_only_way_on() -> None:
    model = ModelDouble(choose_by=lambda _, heard: 0 if "Ana" in heard else None)
    start = node("start", text="Name?", condition="the name is known", isStart=True)
    talking = Talk(engine(start, node("b", text="Hi."), edge("start", "b"), model=model))
    await talking.opens()
    assert (await talking.says("hm")).texts == ("Name?",)
    assert (await talking.says("Ana")).texts == ("Hi.",)
    assert list(model.asked[0].options) == ["the name is known"]


async def test_global_nodes_are_options_everywhere_and_one_without_edges_leads_back() -> None:
    model = ModelDouble(choose_by=lambda _, heard: 1 if "where" in heard else 0)
    faq = node("faq", text="Main Street 1.", isGlobal=True, globalLabel="asks for the address")
    parts = (START, node("b", "End Call", text="Bye."), edge("start", "b", "says yes"), faq)
    talking = Talk(engine(*parts, model=model))
    await talking.opens()
    assert (await talking.says("where?")).texts == ("Main Street 1.",)
    assert (await talking.says("yes")).texts == ("Bye.",)
    assert list(model.asked[0].options) == ["says yes", "asks for the address"]


async def test_variables_are_extracted_by_the_model_with_their_types() -> None:
    model = ModelDouble(extract_by=lambda _: {"name": "Ana", "age": "41", "ok": "maybe"})
    start = node(
        "start",
        text="Who?",
        isStart=True,
        extractVars=[
            ["name", "string", "The user's name"],
            ["age", "integer", "The age", True],
            ["ok", "boolean", "Agreed"],
        ],
    )
    talking = Talk(
        engine(start, node("b", text="{{name}} {{age}} {{ok}}"), edge("start", "b"), model=model)
    )
    await talking.opens()
    assert (await talking.says("Ana, 41")).texts == ("Ana 41 ",)
    assert talking.state["variables"] == {"name": "Ana", "age": 41}


async def test_a_transfer_hands_off_and_an_sms_node_is_said() -> None:
    parts = (
        START,
        node("sms", "SMS", smsBody="Our link."),
        node("wait", "Wait for Response", text="Take your time."),
        node("person", "Transfer Call", text="One moment.", transferNumber="+14155550123"),
        edge("start", "sms"),
        edge("sms", "wait"),
        edge("wait", "person"),
    )
    talking = Talk(engine(*parts))
    await talking.opens()
    assert (await talking.says("a")).texts == ("Our link.",)
    assert (await talking.says("b")).texts == ("Take your time.",)
    reply = await talking.says("c")
    assert (reply.texts, reply.hand_off) == (("One moment.",), "Person")
    other = engine(node("a", "Transfer to Human", isStart=True))
    assert (await Talk(other).opens()).hand_off == "A"


async def test_a_node_that_skips_the_users_response_goes_straight_on() -> None:
    start = node("start", text="Hi!", isStart=True, modelOptions={"skipUserResponse": True})
    talking = Talk(engine(start, node("b", text="Ok?"), edge("start", "b", "anyway")))
    assert (await talking.opens()).texts == ("Hi!", "Ok?")


class Answers(httpx.AsyncBaseTransport):
    """Keeps what was asked; answers with the same each time."""

    def __init__(self, status: int = 200, body: object = None) -> None:
        self.status, self.body = status, body
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return httpx.Response(self.status, stream=httpx.ByteStream(json.dumps(self.body).encode()))


HOOK: Mapping[str, object] = {
    "method": "POST",
    "url": "https://api.test/slots/{{ day }}?q={{q}}",
    "headers": {"Content-Type": "application/json", "X-Team": "dental"},
    "auth": {"type": "Bearer", "token": "s3cret-token"},
    "body": '{"day": "{{day}}", "count": {{n}}, "deep": ["{{q}}", {"x": "a {{day}}"}]}',
    "responseData": [
        {"name": "first", "data": "$.result.slots[0].start", "context": "ignored"},
        {"name": "found", "data": "$.result.count"},
        {"name": "none", "data": "$.result.slots[7].start"},
    ],
    "responsePathways": [
        ["found", "==", "0", {"id": "no", "name": "No"}],
        ["found", ">=", "1", {"id": "yes", "name": "Yes"}],
        ["Default/Webhook Completion", "", "", {"id": "odd", "name": "Odd"}],
        ["Default/Webhook Failure", "", "", {"id": "down", "name": "Down"}],
        ["never", "~", "", {"id": "", "name": ""}],
    ],
}
ENDS = [
    node("no", "End Call", text="None."),
    node("yes", "End Call", text="At {{first}}{{none}}."),
    node("odd", "End Call", text="Odd."),
    node("down", "End Call", text="Down."),
]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {"result": {"count": 2, "slots": [{"start": "3pm"}]}}, "At 3pm."),
        (200, {"result": {"count": "0", "slots": []}}, "None."),
        (200, {"error": "?"}, "Odd."),
        (200, "no object", "Odd."),
        (500, {"result": {"count": 2}}, "Down."),
    ],
)
async def test_a_webhook_is_called_as_the_pathway_has_it_and_its_answer_decides(
    status: int, body: object, said: str
) -> None:
    transport = Answers(status, body)
    start = node("hook", "Webhook", isStart=True, **HOOK)
    flow = engine(start, *ENDS, edge("hook", "odd", "drawn"), transport=transport)
    talking = Talk(flow, variables={"day": "a/b?", "q": 'x"&', "n": 3})
    assert (await talking.opens()).texts == (said,)
    request = transport.asked[0]
    assert (request.method, str(request.url)) == (
        "POST",
        "https://api.test/slots/a%2Fb%3F?q=x%22%26",
    )
    assert request.headers["authorization"] == "Bearer s3cret-token"
    assert request.headers["x-team"] == "dental"
    assert json.loads(request.content) == {
        "day": "a/b?",
        "count": 3,
        "deep": ['x"&', {"x": "a a/b?"}],
    }
    assert "s3cret" not in json.dumps([dict(call.arguments) for call in talking.notebook.calls])


@pytest.mark.parametrize(("status", "said"), [(200, "Yes."), (404, "No.")])
async def test_a_webhooks_edges_may_be_drawn_for_success_and_error(status: int, said: str) -> None:
    hook = node("hook", "Webhook", isStart=True, url="https://api.test/", method="get", text="Hm.")
    parts = (
        hook,
        node("y", "End Call", text="Yes."),
        node("n", "End Call", text="No."),
        {"source": "hook", "target": "y", "label": "success"},
        {"source": "hook", "target": "n", "label": "error"},
    )
    transport = Answers(status)
    assert (await Talk(engine(*parts, transport=transport)).opens()).texts == ("Hm.", said)
    assert transport.asked[0].method == "GET"
    assert transport.asked[0].content == b""


async def test_a_webhook_that_leads_nowhere_is_called_again_when_the_user_writes() -> None:
    hook = node("hook", "Webhook", isStart=True, url="https://api.test/")
    transport = Answers()
    talking = Talk(engine(hook, transport=transport))
    assert (await talking.opens()).texts == ()
    assert (await talking.says("hello?")).texts == ()
    assert len(transport.asked) == 2


WRONG: Final[list[tuple[list[Mapping[str, object]], str, str]]] = [
    (
        [START, node("x", "Knowledge Base", kb="...")],
        "pathway.nodes.1",
        (
            'node "x": is of type "Knowledge Base", which answers from a knowledge base: write'
            " what it must know into a prompt"
        ),
    ),
    (
        [START, node("x", "Custom Code")],
        "pathway.nodes.1",
        'node "x": is of type "Custom Code", which runs code: put it behind a Webhook',
    ),
    (
        [START, node("x", "Press Button")],
        "pathway.nodes.1",
        (
            'node "x": is of type "Press Button", which presses the keys of a phone, which a text'
            " cannot"
        ),
    ),
    (
        [START, node("x", "Transfer Pathway")],
        "pathway.nodes.1",
        (
            'node "x": is of type "Transfer Pathway", which leads to another pathway: put its'
            " nodes into this one"
        ),
    ),
    (
        [START, node("x", "Scheduling")],
        "pathway.nodes.1",
        (
            'node "x": is of type "Scheduling", which books through Bland: put a Webhook to your'
            " calendar in its place"
        ),
    ),
    (
        [START, node("x", "Dream")],
        "pathway.nodes.1",
        (
            'node "x": is of type "Dream", which is not known here; known: Default, Wait For'
            " Response, Sms, End Call, Transfer Call, Transfer Node, Transfer To Human, Webhook"
        ),
    ),
    (
        [START, {"id": "x", "data": {}}],
        "pathway.nodes.1",
        'node "x": needs a type and data',
    ),
    ([START, {"type": "Default", "data": {}}], "pathway.nodes.1", "a node needs an id"),
    (
        [node("x", text="Hi")],
        "pathway.nodes",
        "no node has isStart: true; the flow begins at it",
    ),
    (
        [START, node("x", text="Hi", isStart=True)],
        "pathway.nodes.1",
        'node "x": is a second start, beside "start"',
    ),
    (
        [START, node("start", text="again")],
        "pathway.nodes.1.id",
        'node "start": there are two with this id',
    ),
    (
        [START, edge("start", "x")],
        "pathway.edges.0",
        'node "start": leads to "x", and there is no such node',
    ),
    (
        [START, edge("x", "start")],
        "pathway.edges.0.source",
        'edge "x-start": comes from "x", and there is no such node',
    ),
    (
        [START, node("a"), node("b"), edge("start", "a"), edge("start", "b")],
        "pathway.edges.1",
        'node "start": has several edges without a label; which to take?',
    ),
    (
        [START, node("x", text="Hi", kb="facts")],
        "pathway.nodes.1.data.kb",
        'node "x": has a knowledge base, which is not run here',
    ),
    (
        [START, node("x", text="Hi", tools=[{"name": "t"}])],
        "pathway.nodes.1.data.tools",
        'node "x": has tools, which is not run here',
    ),
    (
        [START, node("x", text="Hi", isGlobal=True)],
        "pathway.nodes.1.data.isGlobal",
        'node "x": is global, and has no globalLabel to be reached by',
    ),
    (
        [START, node("x", text="Hi", extractVars=[["a", "object", ""]])],
        "pathway.nodes.1.data.extractVars.0",
        'node "x": "a" is of type "object"; known here: string, integer, number, boolean, date',
    ),
    (
        [START, node("x", "Webhook", url="https://{{host}}.test/x")],
        "pathway.nodes.1.data.url",
        'node "x": url: a variable cannot say which server is called',
    ),
    (
        [START, node("x", "Webhook", url="nowhere")],
        "pathway.nodes.1.data.url",
        'node "x": url: must be an address such as https://example.com/path',
    ),
    (
        [START, node("x", "Webhook", url="https://x.test", method="BREW")],
        "pathway.nodes.1.data.method",
        'node "x": method is "BREW"; known here: DELETE, GET, PATCH, POST, PUT',
    ),
    (
        [START, node("x", "Webhook", url="https://x.test", body="day={{day}}")],
        "pathway.nodes.1.data.body",
        'node "x": body is not JSON',
    ),
    (
        [START, node("x", "Webhook", url="https://x.test", headers={"A": "{{ SECRET.x }}"})],
        "pathway.nodes.1.data.headers.A",
        'node "x": the header A holds a variable; give its value, as ${NAME}',
    ),
    (
        [
            START,
            node(
                "x",
                "Webhook",
                url="https://x.test",
                responsePathways=[["BlandStatusCode", "==", "404", {"id": "start"}]],
            ),
        ],
        "pathway.nodes.1.data.responsePathways.0",
        ('node "x": goes by the status code of the answer, which is not kept; use the failure row'),
    ),
    (
        [
            START,
            node(
                "x",
                "Webhook",
                url="https://x.test",
                responsePathways=[{"variable": "a", "operator": "~", "nodeId": "start"}],
            ),
        ],
        "pathway.nodes.1.data.responsePathways.0",
        (
            'node "x": compares by "~"; known here: ==, =, is, equals, !=, is not, not equals,'
            " contains, >, >=, <, <="
        ),
    ),
    (
        [
            node("a", text="1", isStart=True, modelOptions={"skipUserResponse": True}),
            edge("a", "a"),
        ],
        "pathway.nodes.0.data",
        'node "a": goes round in a circle without waiting for the user: "a" -> "a"',
    ),
]


@pytest.mark.parametrize(("parts", "where", "what"), WRONG)
def test_what_cannot_be_run_is_refused_with_its_node(
    parts: list[Mapping[str, object]], where: str, what: str
) -> None:
    assert (where, what) in wrong(*parts)


def test_words_for_what_the_pathway_does_not_have_are_refused() -> None:
    settings = {"labels": {"agrees": {"keywords": ["yes"]}}, "texts": {"z": "Hi"}}
    assert wrong(START, **settings) == [
        ("labels.agrees", "no edge, condition or global label of the pathway reads so"),
        ("texts.z", 'there is no node "z"'),
    ]
    assert wrong(START, labels={"a": {"label": "b"}})[0] == (
        "labels.a",
        "decides by keywords, matches or variables, not by a label or a result",
    )


def test_a_pathway_without_a_model_says_which_node_needs_one() -> None:
    with pytest.raises(ValidationError) as refused:
        FlowConfig.model_validate({"pathway": MINIMAL})
    assert [error["msg"] for error in refused.value.errors()] == [
        (
            'node "1": has the edge "user confirmed", which is a matter of judgement, and the flow'
            " has no model"
        ),
        'node "2": has a prompt, and the flow has no model',
    ]


def test_a_pathway_that_was_stored_is_the_same_and_shows_no_token() -> None:
    parts = pathway(node("hook", "Webhook", isStart=True, **HOOK), *ENDS)
    made = FlowConfig.model_validate({"pathway": parts})
    stored = json.loads(json.dumps(made.model_dump(mode="json")))
    assert "s3cret" not in json.dumps(stored)
    data = stored["pathway"]["nodes"][0]["data"]
    data["auth"]["token"] = "s3cret-token"
    data["headers"] = {"Content-Type": "application/json", "X-Team": "dental"}
    assert FlowConfig.model_validate(stored).graph() == made.graph()
