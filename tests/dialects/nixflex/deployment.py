"""Two accounts whose callers use Nixflex' clients, and what their answers must always have."""

from typing import Final

import httpx

from textback.dialects.nixflex.wire import CODES, TYPES

KEY_ID: Final = "nxf_" + "a1" * 16
KEY: Final = f"{KEY_ID}:nxfs_{'x1' * 32}"
READER: Final = f"nxf_{'b2' * 16}:nxfs_{'y2' * 32}"
OTHER: Final = f"nxf_{'c3' * 16}:nxfs_{'z3' * 32}"

WEBHOOK_SECRET: Final = "a-secret-that-signs-deliveries"

AGENT: Final = "agent_125207e452f8714a"
THEIR_AGENT: Final = "agent_0123456789abcdef"
NUMBER: Final = "+447446466847"
US_NUMBER: Final = "+14155550100"
USER: Final = "+447386172392"

ENVIRONMENT: Final = {
    "NIX_SECRET": KEY.partition(":")[2],
    "READ_SECRET": READER.partition(":")[2],
    "WEBHOOK_SECRET": WEBHOOK_SECRET,
    "OTHER_SECRET": OTHER.partition(":")[2],
}

YAML: Final = f"""\
accounts:
  - id: dental
    webhook_secret: "${{WEBHOOK_SECRET}}"
    agent_template: {AGENT}
    key_pairs:
      - {{id: {KEY_ID}, secret: "${{NIX_SECRET}}"}}
      - {{id: {READER.partition(":")[0]}, secret: "${{READ_SECRET}}", scopes: [read]}}
    carriers: [{{id: dental-sandbox, kind: sandbox}}]
    agents:
      - id: {AGENT}
        engine:
          kind: llm
          model: {{provider: openai, name: some, base_url: "http://127.0.0.1:9/v1"}}
          prompt: You are the receptionist of Acme Dental.
      - {{id: echo, engine: {{kind: scripted, default: "You said: {{text}}"}}}}
    projects:
      - id: reminders
        agent: {AGENT}
        numbers:
          - {{number: "{NUMBER}", carrier: dental-sandbox}}
          - {{number: "{US_NUMBER}", carrier: dental-sandbox, registration: pending, agent: echo}}
  - id: other
    key_pairs: [{{id: {OTHER.partition(":")[0]}, secret: "${{OTHER_SECRET}}"}}]
    carriers: [{{id: other-sandbox, kind: sandbox}}]
    agents:
      - {{id: {THEIR_AGENT}, engine: {{kind: scripted, default: "Hm."}}}}
      - {{id: theirs, engine: {{kind: scripted, default: "Hm."}}}}
    projects:
      - id: others
        agent: {THEIR_AGENT}
        numbers: [{{number: "+447700900999", carrier: other-sandbox}}]
"""

SMS: Final = {
    "agent_id": AGENT,
    "to": USER,
    "from_number": NUMBER,
    "message": "Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm.",
}


OPTED_OUT: Final = (
    "insert into opt_outs (id, agent_number, user_number, opted_out_at, source)"
    " values ('opt_1', '+447446466847', '+447386172392', now(), 'keyword')"
)
"""`USER` has said STOP to `NUMBER`."""


def is_refused(answer: httpx.Response, code: str) -> dict[str, object]:
    """In the one shape there is, with the status of the code; gives its details."""
    assert answer.status_code == CODES[code], answer.text
    body = answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert list(error) == ["type", "code", "message", "doc_url", "details"]
    assert error["code"] == code, answer.text
    assert error["type"] == TYPES[CODES[code]]
    assert error["message"].strip()
    assert error["doc_url"] == f"https://docs.nixflex.com/reference/errors#{code}"
    assert ("www-authenticate" in answer.headers) is (answer.status_code == 401)
    assert ("retry-after" in answer.headers) is (answer.status_code in {429, 503})
    return error["details"]


def told(answer: httpx.Response) -> tuple[int, int, int]:
    """The limit, what remains, and when all is back."""
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    limit, remaining, reset = (int(answer.headers[name]) for name in names)
    return limit, remaining, reset
