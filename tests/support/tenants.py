"""Two accounts that have one of everything each, and every route, with all it may name.

What a request names stands in it as `<name>`: once another account's is put there, and once one
that nobody has.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import jwt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.bland import hear
from tests.support.provision import NOW
from textback import wiring
from textback.core import ids
from textback.core.commands import Scope
from textback.db.tables import metadata
from textback.runtime import Runtime

PAIR: Final = f"nxf_{'a1' * 16}:nxfs_{'x1' * 32}"
"""Acme's: as a bearer token it is good with every dialect but Kore.ai's."""
THEIRS: Final = f"nxf_{'b2' * 16}:nxfs_{'y2' * 32}"
"""Globex', who asks for what is Acme's."""
APP_SECRET: Final = "kore-client-secret-kore-client-secret-kore="
APP: Final = "cs-0a0a0a0a-0000-4000-8000-000000000001"
THEIR_APP: Final = "cs-0a0a0a0a-0000-4000-8000-000000000002"

AGENT: Final = "agent_00000000000000aa"
USER: Final = "+14155550123"


def _account(name: str, pair: str, app: str, number: str) -> str:
    public, _, secret = pair.partition(":")
    return f"""\
  - id: {name}
    agent_template: {name}-template
    webhook_secret: "{name}-webhook-secret-0123456789"
    key_pairs: [{{id: {public}, name: pair, secret: "{secret}"}}]
    jwt_apps: [{{client_id: {app}, name: ci, secret: "{APP_SECRET}"}}]
    carriers: [{{id: {name}-sandbox, kind: sandbox}}]
    agents:
      - id: {name}-agent
        greeting: "Hello from {name}."
        engine: {{kind: scripted, default: "You said: {{text}}"}}
      - id: {name}-template
        engine:
          kind: llm
          model: {{provider: openai, name: m, base_url: "http://127.0.0.1:9/v1"}}
          prompt: You are from {name}.
    projects:
      - id: {name}-project
        agent: {name}-agent
        rate_limit: {{requests: 1000, per_seconds: 1}}
        connectors: [{{id: {name}-live, environment: live}}]
        numbers: [{{number: "{number}", environment: live, carrier: {name}-sandbox}}]
"""


YAML: Final = (
    "accounts:\n"
    + _account("acme", PAIR, APP, "+14155550100")
    + _account("globex", THEIRS, THEIR_APP, "+14155550199")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of Globex'. Without any `<name>` it may succeed, and shows nothing of Acme's."""

    path: str | None = None
    """None: the route's own, as it is written."""
    body: object = None
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: str | None = None
    """Instead of a body: a CSV."""
    works: bool = False
    """What is named is looked for among what Globex has: finding nothing is no error."""
    taken: bool = False
    """What it makes may not be called as something of Acme's is: the one thing that is told."""


@dataclass(frozen=True, slots=True)
class Names:
    """By name: what Acme has, and what nobody has that is written alike."""

    acmes: Mapping[str, str]
    nobodys: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """By which somebody asks: as a pair, and as an app with Kore.ai."""

    pair: str
    app: str
    secret: str = APP_SECRET
    account: str

    def headers(self, dialect: str) -> dict[str, str]:
        """As the dialect's clients say who they are."""
        match dialect:
            case "kore":
                said = {"sub": "1", "appId": self.app}
                return {"auth": jwt.encode(said, self.secret, algorithm="HS256")}
            case "polyai":
                live = f"{self.account}-live"
                return {
                    "x-api-key": self.pair,
                    "X-TOKEN": live,
                    "X-PolyAi-Auth-Token": self.pair,
                    "X-TOKEN-ID": live,
                }
            case _:
                return {"Authorization": f"Bearer {self.pair}"}


ACMES: Final = Key(pair=PAIR, app=APP, account="acme")
GLOBEX: Final = Key(pair=THEIRS, app=THEIR_APP, account="globex")


async def limited(http: httpx.AsyncClient, *scopes: str) -> Key:
    """Another key of Acme's."""
    asked = {"name": "only " + " ".join(scopes), "scopes": scopes}
    ours = ACMES.headers("native")
    pair = (await http.post("/v1/admin/key-pairs", json=asked, headers=ours)).json()
    app = (await http.post("/v1/admin/jwt-apps", json=asked, headers=ours)).json()
    return Key(
        pair=f"{pair['id']}:{pair['secret']}",
        app=app["client_id"],
        secret=app["secret"],
        account="acme",
    )


def routes(rt: Runtime) -> dict[str, str]:
    """`METHOD path` of every route of every dialect -> the dialect, as the application has them."""
    app = wiring.application(rt, owns=False).app
    return {
        f"{method} {path}": dialect.name
        for path, dialect in app.state.dialects.items()
        for method in app.state.methods[path] - {"HEAD"}
    }


async def ask(
    http: httpx.AsyncClient, route: str, it: Ask, given: Mapping[str, str]
) -> httpx.Response:
    method, _, path = route.partition(" ")
    headers = {**given, **it.headers}
    if it.content is not None:
        headers = {"Content-Type": "text/csv"} | headers
        return await http.request(
            method, it.path or path, params=it.query, content=it.content, headers=headers
        )
    json = None if method == "GET" else it.body
    return await http.request(method, it.path or path, params=it.query, json=json, headers=headers)


def named(it: Ask, route: str, names: Mapping[str, str]) -> Ask:
    """With names where their places are."""
    path = it.path or route.partition(" ")[2]
    for name, value in names.items():
        path = path.replace(f"<{name}>", quote(value, safe=""))

    def put(value: Any) -> Any:
        match value:
            case str():
                for name, instead in names.items():
                    value = value.replace(f"<{name}>", instead)
                return value
            case dict():
                return {put(k): put(v) for k, v in cast("dict[Any, Any]", value).items()}
            case list():
                return [put(each) for each in cast("list[Any]", value)]
            case _:
                return value

    return Ask(
        path=path,
        body=put(it.body),
        query=put(dict(it.query)),
        headers=put(dict(it.headers)),
        content=put(it.content),
        works=it.works,
        taken=it.taken,
    )


async def settle_in(http: httpx.AsyncClient, rt: Runtime, now: datetime = NOW) -> Names:
    """Give Acme one of everything."""
    ours = ACMES.headers("native")

    async def made(path: str, body: Any, status: int, given: Mapping[str, str] = ours) -> Any:
        answer = await http.post(path, json=body, headers=given)
        assert answer.status_code == status, (path, answer.text)
        return answer.json()

    to = {"to": USER, "project": "acme-project", "metadata": {"secret": "acme-metadata"}}
    sent = await made("/v1/messages", to | {"text": "acme-text"}, 202)
    await hear(rt.db, "acme-answer", user=USER, agent="+14155550100", carrier="acme-sandbox")
    later = {"send_at": (now.replace(year=now.year, month=now.month + 1)).isoformat()}
    plan = await made("/v1/messages", to | later | {"to": "+14155550124", "text": "acme-plan"}, 202)
    rows = [{"to": "+14155550125", "text": "acme-row"}]
    batch = await made("/v1/batches", {"project": "acme-project", "rows": rows, "draft": True}, 201)
    out = {"user_number": "+14155550126", "project": "acme-project", "reason": "acme-reason"}
    opt_out = await made("/v1/opt-outs", out, 200)
    hook = {"url": "https://acme.example.com/hooks", "project": "acme-project"}
    webhook = await made("/v1/webhooks", hook, 201)
    pulled = await made("/v1/webhooks", {}, 201)
    delivery = await made(f"/v1/webhooks/{webhook['id']}/test", {}, 202)
    entries: dict[str, dict[str, Any]] = {
        "carriers": {"id": "acme-twilio", "kind": "twilio", "account_sid": "AC" + "5" * 32,
                     "auth_token": "acme-twilio-token"},
        "agents": {"id": AGENT, "engine": {"kind": "scripted", "default": "acme-says"}},
        "projects": {"id": "acme-second", "agent": AGENT},
        "connectors": {"id": "acme-dev", "project": "acme-second", "environment": "dev"},
        "numbers": {"number": "+14155550155", "project": "acme-second", "carrier": "acme-twilio"},
    }  # fmt: skip
    for what, entry in entries.items():
        await made(f"/v1/admin/{what}", entry, 201)
    api_key = await made("/v1/admin/api-keys", {"name": "acme-key"}, 201)
    pair = await made("/v1/admin/key-pairs", {"name": "acme-pair"}, 201)
    app = await made("/v1/admin/jwt-apps", {"name": "acme-app"}, 201)
    table = "phone_number\n+14155550127\n"
    content = {"file_type": "batches", "file_name": "acme-file", "content": table}
    file = await made("/v1/files/attach", content, 200)
    campaign = await made(
        "/v1/sms/campaigns",
        {"agent_id": "acme-agent", "from_number": "+14155550100", "message_template": "acme-words",
         "recipients": [{"phone": "+14155550128"}]},
        201,
    )  # fmt: skip
    chat = await made("/v1/acme/acme-project/chat/create", {}, 200, ACMES.headers("polyai"))
    theirs = GLOBEX.headers("native")
    own = await made(
        "/v1/messages", {"to": USER, "project": "globex-project", "text": "Hi."}, 202, theirs
    )
    own_file = await made("/v1/files/attach", content | {"file_name": "own"}, 200, theirs)
    unknown = ids.new_conversation_id(now)
    both = {
        "own_conversation": own["conversation_id"],
        "own_uuid": ids.to_uuid(own["conversation_id"]),
        "own_file": own_file["data"]["file_id"],
        "own_key": THEIRS.partition(":")[0],
    }
    return Names(
        both
        | {
            "account": "acme",
            "conversation": sent["conversation_id"],
            "uuid": ids.to_uuid(sent["conversation_id"]),
            "message": sent["message_id"],
            "send": plan["message_id"],
            "batch": batch["id"],
            "campaign": campaign["campaign_id"],
            "opt_out": opt_out["id"],
            "webhook": webhook["id"],
            "pulled": pulled["id"],
            "delivery": delivery["delivery_id"],
            "key": api_key["id"],
            "pair": pair["id"],
            "app": app["client_id"],
            "project": "acme-project",
            "connector": "acme-live",
            "carrier": "acme-twilio",
            "sid": "AC" + "5" * 32,
            "number": "+14155550100",
            "agent": "acme-agent",
            "file": file["data"]["file_id"],
            "chat": chat["conversation_id"],
        },
        both
        | {
            "account": "nobody",
            "conversation": unknown,
            "uuid": ids.to_uuid(unknown),
            "message": ids.new_message_id(now),
            "send": ids.new_message_id(now),
            "batch": ids.new_batch_id(now),
            "campaign": "smsc_" + ids.new_batch_id(now).removeprefix("batch_"),
            "opt_out": ids.new_opt_out_id(now),
            "webhook": ids.new_endpoint_id(now),
            "pulled": ids.new_endpoint_id(now),
            "delivery": "dlv_999999999",
            "key": ids.new_key_id(now),
            "pair": "nxf_" + "9" * 32,
            "app": "cs-" + ids.to_uuid(ids.new_key_id(now)),
            "project": "nobodys-project",
            "connector": "nobodys-live",
            "carrier": "nobodys-twilio",
            "sid": "AC" + "6" * 32,
            "number": "+14155550198",
            "agent": "nobodys-agent",
            "file": ids.to_uuid(ids.new_file_id(now)),
            "chat": ids.new_conversation_id(now),
        },
    )


async def dump(engine: AsyncEngine, *but: str) -> dict[str, str]:
    """What is in every table, by its name: a digest of all its rows."""
    whole = " union all ".join(
        f"select '{name}', md5(coalesce(string_agg(t::text, chr(10) order by t::text), ''))"  # noqa: S608 - ours
        f" from {name} t"
        for name in sorted(each.name for each in metadata.tables.values())
        if name not in but
    )
    async with engine.connect() as c:
        return {row[0]: row[1] for row in await c.execute(text(whole))}


# --- All that can be asked for ------------------------------------------------------------------

_SEND: Final = {"to": USER, "text": "Hi."}
_OWN: Final[Mapping[str, str]] = {"project": "globex-project"}
_ROWS: Final = {"rows": [{"to": USER, "text": "Hi."}]}
_BLAND: Final = {"user_number": USER, "agent_number": "+14155550199", "agent_message": "Hi."}
_NIX: Final = {
    "agent_id": "globex-agent",
    "from_number": "+14155550199",
    "to": USER,
    "message": "Hi.",
}
_CAMPAIGN: Final = {
    "agent_id": "globex-agent",
    "from_number": "+14155550199",
    "message_template": "Hi.",
    "recipients": [{"phone": USER}],
}
_SCRIPTED: Final = {"kind": "scripted", "default": "Hm."}
_NEVER: Final = {"send_at": "2026-04-01T00:00:00Z"}
_ANY: Final = Ask()


def _one(path: str, body: object = None, **more: Any) -> list[Ask]:
    return [Ask(path=path, body=body, **more)]


def _asked_by(parameters: Mapping[str, str]) -> list[Ask]:
    return [Ask(query={name: value}, works=True) for name, value in parameters.items()]


_C: Final = "/v1/conversations/<conversation>"
_B: Final = "/v1/sms/conversations/<uuid>"
_W: Final = "/v1/webhooks/<webhook>"
_ADMIN: Final = "/v1/admin"
_GLOBEX: Final = "/v1/globex/globex-project/chat"

ASKS: Final[Mapping[str, Sequence[Ask]]] = {
    # --- native
    "POST /v1/messages": [
        Ask(body=_SEND | more)
        for more in (
            {"project": "<project>"},
            {"connector": "<connector>"},
            {"from": "<number>"},
            _OWN | {"from": "<number>"},
            _OWN | {"agent": {"id": "<agent>"}},
            _OWN | {"agent": {"id": "<agent>"}} | _NEVER,
            _OWN | {"agent": {"id": "<agent>", "version": 1}, "conversation": "resume"},
        )
    ],
    "GET /v1/messages": [
        _ANY,
        *_asked_by(
            {
                "project": "<project>",
                "conversation": "<conversation>",
                "agent_number": "<number>",
                "q": "acme",
            }
        ),
    ],
    "GET /v1/messages/{message_id}": [
        Ask(path="/v1/messages/<message>"),
        Ask(path="/v1/messages/<send>"),
    ],
    "GET /v1/conversations": [
        _ANY,
        *_asked_by(
            {
                "project": "<project>",
                "connector": "<connector>",
                "agent_number": "<number>",
                "agent": "<agent>",
                "metadata.secret": "acme-metadata",
                "q": "acme",
            }
        ),
    ],
    "GET /v1/conversations/{conversation_id}": _one(_C),
    "PATCH /v1/conversations/{conversation_id}": _one(_C, {"objective": "Theirs."}),
    "DELETE /v1/conversations/{conversation_id}": _one(_C),
    "GET /v1/conversations/{conversation_id}/messages": _one(_C + "/messages"),
    "POST /v1/conversations/{conversation_id}/messages": _one(_C + "/messages", {"text": "Hi."}),
    "POST /v1/conversations/{conversation_id}/handoff": _one(_C + "/handoff", {}),
    "POST /v1/conversations/{conversation_id}/resume": [
        Ask(path=_C + "/resume", body={}),
        Ask(path=_C + "/resume", body={"message": "Hi."}),
    ],
    "POST /v1/conversations/{conversation_id}/end": _one(_C + "/end", {}),
    "POST /v1/batches": [
        *(
            Ask(body=_ROWS | more)
            for more in (
                {"project": "<project>"},
                {"connector": "<connector>"},
                {"from": "<number>"},
                _OWN | {"from": "<number>"},
                _OWN | {"agent": {"id": "<agent>"}},
            )
        ),
        Ask(content=f"to,text\n{USER},Hi.\n", query={"project": "<project>"}),
        Ask(content=f"to,text\n{USER},Hi.\n", query=_OWN | {"agent": "<agent>"}),
    ],
    "GET /v1/batches": [_ANY, Ask(query={"project": "<project>"}, works=True)],
    "GET /v1/batches/{batch_id}": _one("/v1/batches/<batch>"),
    "GET /v1/batches/{batch_id}/rows": _one("/v1/batches/<batch>/rows"),
    "POST /v1/batches/{batch_id}/start": _one("/v1/batches/<batch>/start"),
    "POST /v1/batches/{batch_id}/pause": _one("/v1/batches/<batch>/pause"),
    "POST /v1/batches/{batch_id}/resume": _one("/v1/batches/<batch>/resume"),
    "POST /v1/batches/{batch_id}/cancel": _one("/v1/batches/<batch>/cancel"),
    "GET /v1/sends": [_ANY, Ask(query={"project": "<project>"}, works=True)],
    "GET /v1/sends/{send_id}": _one("/v1/sends/<send>"),
    "PATCH /v1/sends/{send_id}": _one("/v1/sends/<send>", _NEVER),
    "DELETE /v1/sends/{send_id}": _one("/v1/sends/<send>"),
    "POST /v1/sends/{send_id}/release": _one("/v1/sends/<send>/release"),
    "GET /v1/opt-outs": [
        _ANY,
        Ask(query={"project": "<project>"}, works=True),
        Ask(query={"agent_number": "<number>"}, works=True),
    ],
    "POST /v1/opt-outs": [
        Ask(body={"user_number": USER, "project": "<project>", "reason": "Theirs."}),
        Ask(body={"user_number": USER, "agent_number": "<number>", "reason": "Theirs."}),
    ],
    "GET /v1/opt-outs/export": [_ANY, Ask(query={"project": "<project>"}, works=True)],
    "POST /v1/opt-outs/import": [
        Ask(content=f"user_number,reason\n{USER},Theirs.\n", query=each, works=True)
        for each in ({"project": "<project>"}, {"agent_number": "<number>"})
    ]
    + [
        Ask(content=f"user_number,project,reason\n{USER},<project>,Theirs.\n", works=True),
        Ask(content=f"user_number,agent_number,reason\n{USER},<number>,Theirs.\n", works=True),
    ],
    "DELETE /v1/opt-outs/{opt_out_id}": _one("/v1/opt-outs/<opt_out>", {"reason": "Theirs."}),
    "POST /v1/webhooks": [
        Ask(body={"url": "https://example.com/x", name: f"<{name}>"})
        for name in ("project", "conversation")
    ],
    "GET /v1/webhooks": [_ANY],
    "GET /v1/webhooks/{webhook_id}": _one(_W),
    "PATCH /v1/webhooks/{webhook_id}": _one(_W, {"url": "https://example.com/x"}),
    "DELETE /v1/webhooks/{webhook_id}": _one(_W),
    "POST /v1/webhooks/{webhook_id}/rotate": _one(_W + "/rotate", {}),
    "POST /v1/webhooks/{webhook_id}/test": _one(_W + "/test", {}),
    "POST /v1/webhooks/{webhook_id}/pause": _one(_W + "/pause", {}),
    "POST /v1/webhooks/{webhook_id}/resume": _one(_W + "/resume", {}),
    "GET /v1/webhooks/{webhook_id}/poll": _one("/v1/webhooks/<pulled>/poll"),
    "GET /v1/webhooks/{webhook_id}/deliveries": _one(_W + "/deliveries"),
    "POST /v1/webhooks/{webhook_id}/replay": _one(
        _W + "/replay", {"since": "2026-01-01T00:00:00Z"}
    ),
    "GET /v1/deliveries/{delivery_id}": _one("/v1/deliveries/<delivery>"),
    "POST /v1/deliveries/{delivery_id}/replay": _one("/v1/deliveries/<delivery>/replay", {}),
    "GET /v1/events": [
        _ANY,
        Ask(query={"conversation": "<conversation>"}, works=True),
        Ask(query={"message": "<message>"}, works=True),
    ],
    "GET /v1/usage": [
        Ask(query={"since": "2026-03-02", "until": "2026-03-02", "by": "project"}),
        Ask(
            query={"since": "2026-03-02", "until": "2026-03-02", "project": "<project>"},
            works=True,
        ),
    ],
    "GET /v1/me": [_ANY],
    "GET /v1/projects": [_ANY],
    # --- native: administration
    **{
        f"{method} {_ADMIN}/{what}/{{{key}}}": _one(f"{_ADMIN}/{what}/<{name}>", {})
        for what, key, name in (
            ("projects", "id", "project"),
            ("connectors", "id", "connector"),
            ("carriers", "id", "carrier"),
            ("numbers", "number", "number"),
            ("agents", "id", "agent"),
            ("api-keys", "key_id", "key"),
            ("jwt-apps", "client_id", "app"),
        )
        for method in ("GET", "PATCH", "DELETE")
    },
    **{
        f"GET {_ADMIN}/{what}": [_ANY]
        for what in (
            "projects",
            "connectors",
            "carriers",
            "numbers",
            "agents",
            "api-keys",
            "key-pairs",
            "jwt-apps",
            "account",
        )
    },
    "POST /v1/admin/projects": [
        Ask(body={"id": "new", "agent": "<agent>"}),
        Ask(body={"id": "<project>", "agent": "globex-agent"}, taken=True),
    ],
    "POST /v1/admin/connectors": [
        Ask(body={"id": "new", "project": "<project>", "environment": "live"}),
        Ask(
            body={"id": "<connector>", "project": "globex-project", "environment": "live"},
            taken=True,
        ),
    ],
    "POST /v1/admin/carriers": [
        Ask(body={"id": "<carrier>", "kind": "sandbox"}, taken=True),
        Ask(
            body={"id": "new", "kind": "twilio", "account_sid": "<sid>", "auth_token": "x" * 32},
            taken=True,
        ),
    ],
    "POST /v1/admin/numbers": [
        Ask(body={"number": "+14155550177", "project": "<project>", "carrier": "globex-sandbox"}),
        Ask(body={"number": "+14155550177", "project": "globex-project", "carrier": "<carrier>"}),
        Ask(
            body={
                "number": "+14155550177",
                "project": "globex-project",
                "carrier": "globex-sandbox",
                "agent": "<agent>",
            }
        ),
        Ask(
            body={"number": "<number>", "project": "globex-project", "carrier": "globex-sandbox"},
            taken=True,
        ),
    ],
    "POST /v1/admin/agents": [Ask(body={"id": "<agent>", "engine": _SCRIPTED}, taken=True)],
    "GET /v1/admin/agents/{id}/versions": _one("/v1/admin/agents/<agent>/versions"),
    "POST /v1/admin/api-keys": [Ask(body={"name": "acme-key"}, works=True)],
    "POST /v1/admin/key-pairs": [Ask(body={"name": "acme-pair"}, works=True)],
    "POST /v1/admin/jwt-apps": [Ask(body={"name": "acme-app"}, works=True)],
    "POST /v1/admin/api-keys/{key_id}/rotate": _one("/v1/admin/api-keys/<key>/rotate", {}),
    "GET /v1/admin/key-pairs/{pair_id}": _one("/v1/admin/key-pairs/<pair>"),
    "POST /v1/admin/key-pairs/{pair_id}/rotate": _one("/v1/admin/key-pairs/<pair>/rotate", {}),
    "DELETE /v1/admin/key-pairs/{pair_id}": _one("/v1/admin/key-pairs/<pair>"),
    "POST /v1/admin/jwt-apps/{client_id}/rotate": _one("/v1/admin/jwt-apps/<app>/rotate", {}),
    "PATCH /v1/admin/account": [Ask(body={"agent_template": "<agent>"})],
    "POST /v1/admin/account/webhook-secret": [_ANY],
    # --- PolyAI
    "GET /v3/{account_id}/{project_id}/conversations": [
        Ask(path="/v3/<account>/<project>/conversations"),
        Ask(path="/v3/globex/<project>/conversations"),
    ],
    "GET /v1/agents/{agent_id}/conversations/{conversation_id}": [
        Ask(path="/v1/agents/<agent>/conversations/<conversation>"),
        Ask(path="/v1/agents/globex-agent/conversations/<conversation>"),
    ],
    "POST /v1/{account_id}/{project_id}/chat/create": [
        Ask(path="/v1/<account>/<project>/chat/create", body={}),
        Ask(path="/v1/globex/<project>/chat/create", body={}),
        Ask(path=_GLOBEX + "/create", body={}, headers={"X-TOKEN": "<connector>"}),
    ],
    "POST /v1/{account_id}/{project_id}/chat/respond": [
        Ask(path=_GLOBEX + "/respond", body={"conversation_id": f"<{each}>", "message": "Hi."})
        for each in ("chat", "conversation")
    ],
    "PUT /v1/{account_id}/{project_id}/chat/close": [
        Ask(path=_GLOBEX + "/close", body={"conversation_id": f"<{each}>"})
        for each in ("chat", "conversation")
    ],
    "POST /v1/outbound-sms": [
        Ask(body={"user_number": USER, "message": "Hi.", "agent_number": "<number>"})
    ],
    # --- Bland AI
    "POST /v1/sms/send": [
        Ask(body=_BLAND | more)
        for more in (
            {"agent_number": "<number>"},
            {"persona_id": "<agent>"},
            {"pathway_id": "<agent>"},
            {"persona_settings": {"pathway_id": "<agent>"}},
        )
    ],
    "POST /v1/sms/create": [
        Ask(body={"user_number": USER, "agent_number": "+14155550199", "message": "Hi."} | more)
        for more in ({"agent_number": "<number>"}, {"curr_pathway_id": "<agent>"})
    ],
    "POST /v1/files/attach": [],
    "POST /v1/sms/batch": [
        Ask(body={"file_id": "<file>", "global": {"agent_number": "+14155550199"}}),
        Ask(body={"file_id": "<own_file>", "global": {"agent_number": "<number>"}}),
        Ask(
            body={
                "file_id": "<own_file>",
                "global": {"agent_number": "+14155550199", "pathway_id": "<agent>"},
            }
        ),
    ],
    "POST /v1/sms/conversations/{conversation_id}/messages": _one(
        _B + "/messages", {"message": "Hi."}
    ),
    "POST /v1/sms/conversations/{conversation_id}/handoff": [
        Ask(path=_B + "/handoff", body={}),
        Ask(path=_B + "/handoff", body={"notify_number": "+14155550133"}),
        Ask(path=_B + "/handoff", body={"webhook": "https://example.com/x"}),
    ],
    "POST /v1/sms/conversations/{conversation_id}/resume": _one(_B + "/resume", {}),
    "POST /v1/sms/conversations/{conversation_id}/end": _one(_B + "/end", {}),
    "GET /v1/sms/conversations": [
        _ANY,
        *(
            Ask(
                query={"filters": f'[{{"field":"{name}","operator":"eq","value":"{of}"}}]'},
                works=True,
            )
            for name, of in (("id", "<uuid>"), ("agent_number", "<number>"))
        ),
    ],
    "GET /v1/sms/conversations/{conversation_id}": _one(_B),
    "PATCH /v1/sms/conversations/{conversation_id}": _one(_B, {"is_active": False}),
    "DELETE /v1/sms/conversations/{conversation_id}": _one(_B),
    "DELETE /v1/sms/conversations/{conversation_id}/messages": [
        Ask(path=_B + "/messages", body={"message_ids": ["<message>"]}),
        Ask(path="/v1/sms/conversations/<own_uuid>/messages", body={"message_ids": ["<message>"]}),
    ],
    "GET /v1/sms/conversations/{conversation_id}/webhook": _one(_B + "/webhook"),
    "POST /v1/sms/analyze": [
        Ask(body={"schema_id": "<agent>", "conversation_id": "<uuid>"}),
        Ask(body={"schema_id": "globex-agent", "conversation_id": "<uuid>"}),
    ],
    "GET /v1/sms/numbers": [_ANY],
    "POST /v1/sms/number/update": [
        Ask(body={"phone_number": "<number>", "objective": "Theirs."}),
        Ask(body={"phone_number": "+14155550199", "pathway_id": "<agent>"}),
    ],
    "POST /v1/sms/update": [Ask(body={"phone_number": "<number>", "prompt": "Theirs."})],
    "POST /v1/sms/webhook/update": [
        Ask(body={"phone_number": "<number>", "webhook": "https://example.com/x"})
    ],
    "POST /v1/sms/toggle": [Ask(body={"phone_number": "<number>", "on": True})],
    # --- Kore.ai
    "POST /api/public/bot/{BotId}/outboundsms": [
        Ask(
            path="/api/public/bot/<connector>/outboundsms",
            body={"fromNo": "+14155550199", "toNo": USER},
        ),
        Ask(
            path="/api/public/bot/globex-live/outboundsms",
            body={"fromNo": "<number>", "toNo": USER},
        ),
    ],
    # --- Nixflex
    "POST /v1/sms": [
        Ask(body=_NIX | {"agent_id": "<agent>"}),
        Ask(body=_NIX | {"from_number": "<number>"}),
        Ask(body={"agent_id": "<agent>", "to": USER, "message": "Hi."}),
    ],
    "POST /v1/sms/campaigns": [
        Ask(body=_CAMPAIGN | {"agent_id": "<agent>"}),
        Ask(body=_CAMPAIGN | {"from_number": "<number>"}),
    ],
    "GET /v1/sms/campaigns": [_ANY, Ask(query={"agent_id": "<agent>"}, works=True)],
    "GET /v1/sms/campaigns/{campaign_id}": _one("/v1/sms/campaigns/<campaign>"),
    "POST /v1/sms/campaigns/{campaign_id}/launch": _one("/v1/sms/campaigns/<campaign>/launch"),
    "DELETE /v1/sms/campaigns/{campaign_id}": _one("/v1/sms/campaigns/<campaign>"),
    "POST /v1/agents": [],
    "GET /v1/agents": [_ANY],
    "GET /v1/agents/{agent_id}": _one("/v1/agents/<agent>"),
    "PUT /v1/agents/{agent_id}": _one("/v1/agents/<agent>", {"name": "Theirs"}),
    "DELETE /v1/agents/{agent_id}": _one("/v1/agents/<agent>"),
    "POST /v1/phone-numbers": [
        Ask(
            body={
                "phone_number": "+14155550178",
                "twilio_sid": "AC" + "7" * 32,
                "twilio_token": "x" * 32,
                "agent_id": "<agent>",
            }
        ),
    ],
    "GET /v1/phone-numbers": [_ANY, Ask(query={"agent_id": "<agent>"}, works=True)],
    "GET /v1/phone-numbers/{phone_number}": _one("/v1/phone-numbers/<number>"),
    "PATCH /v1/phone-numbers/{phone_number}": [
        Ask(path="/v1/phone-numbers/<number>", body={"custom_prompt": "Theirs."}),
        Ask(path="/v1/phone-numbers/+14155550199", body={"agent_id": "<agent>"}),
    ],
    "DELETE /v1/phone-numbers/{phone_number}": _one("/v1/phone-numbers/<number>"),
    "POST /v1/keys": [],
    "POST /v1/keys/rotate": [],
}
"""By route. None: it names nothing that could be another's."""


def _needed(route: str) -> Scope | None:
    method, _, path = route.partition(" ")
    for methods, paths, scope in _RULES:
        if re.fullmatch(methods, method) and re.fullmatch(paths, path):
            return scope
    raise AssertionError(f"no rule says what {route} needs")


_RULES: Final[Sequence[tuple[str, str, Scope | None]]] = [
    ("GET", "/v1/me", None),  # any key may ask who it is
    ("GET", "/v1/webhooks/[^/]+/poll", "webhooks"),  # what it gives counts as delivered
    ("GET", ".*", "read"),
    (".*", "/v1/admin/.*", "manage"),
    (".*", "/v1/(webhooks|deliveries)(/.*)?", "webhooks"),
    (".*", "/v1/opt-outs(/.*)?", "opt_outs"),
    (".*", "/v1/(messages|batches|sends)(/.*)?", "send"),
    ("POST", "/v1(/sms)?/conversations/[^/]+/messages", "send"),
    (".*", "/v1(/sms)?/conversations/.*", "converse"),
    ("POST", "/v1/sms/analyze", "converse"),
    ("POST", "/v1/sms/(update|toggle|webhook/update|number/update)", "manage"),
    (".*", "/v1/sms(/send|/create|/batch|/campaigns.*)?", "send"),
    ("POST", "/v1/files/attach", "send"),
    (".*", "/v1/(agents|phone-numbers|keys)(/.*)?", "manage"),
    ("POST", "/v1/outbound-sms", "send"),
    (".*", ".*/chat/(create|respond|close)", "send"),
    ("POST", "/api/public/bot/{BotId}/outboundsms", "send"),
]
"""The first that fits."""

NEEDS: Final[Mapping[str, Scope | None]] = {route: _needed(route) for route in ASKS}
"""By route: what a key must be for; None: any good one."""
