"""Reading a provisioning file, without a database."""

import pytest

from textback.engine_kinds import KINDS as ENGINES
from textback.provisioning_file import FileRefused, ProvisioningFile, read


def parsed(text: str, **env: str) -> ProvisioningFile:
    return read(text, env, engines=ENGINES)


def problems(text: str | bytes, **env: str) -> list[str]:
    """Each as `line: path: problem`."""
    with pytest.raises(FileRefused) as refused:
        read(text, env, engines=ENGINES)
    return [f"{p.line}: {p.path}: {p.problem}" for p in refused.value.problems]


def with_project(more: str = "") -> str:
    """A right file whose project begins in line 7; `more` begins in line 9, indented by six."""
    return (
        "accounts:\n"
        "  - id: acme\n"
        "    carriers:\n"
        "      - {id: sandbox, kind: sandbox}\n"
        "    agents: [{id: bot, engine: {kind: scripted}}]\n"
        "    projects:\n"
        "    - id: reminders\n"
        "      agent: bot\n" + more
    )
