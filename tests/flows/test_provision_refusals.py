"""What the database already holds can stand in a file's way: then nothing changes."""

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.provision import STANDARD_YAML, apply_file
from tests.support.provisioned import changed, everything, names, refused, row, without_globex

NEW_KEYS = {"ACME_API_KEY": "another-key-of-acme", "GLOBEX_API_KEY": "another-key-of-globex"}

NUMBER = """\
accounts:
  - id: acme
    projects:
      - id: reminders
        agent: bookings
        numbers:
          - {number: "12345", carrier: acme-twilio}
"""


async def test_one_mistake_keeps_the_whole_file_out(engine: AsyncEngine) -> None:
    await apply_file(engine)
    file = changed(("Acme Dental", "Changed"), ("agent: bookings", "agent: bokings"))
    assert await refused(engine, file) == [
        '22: accounts[0].projects[0].agent: there is no agent "bokings" in account "acme"'
    ]


async def test_an_id_of_another_account_is_refused(engine: AsyncEngine) -> None:
    await apply_file(engine)
    file = without_globex().replace("- id: acme\n", "- id: initech\n")
    file = file.replace("name: ci, ", "name: other, ")
    taken = 'belongs to account "acme" already'
    assert await refused(engine, file, NEW_KEYS) == [
        f"7: accounts[0].carriers[0].id: {taken}",
        f"13: accounts[0].agents[0].id: {taken}",
        f"20: accounts[0].projects[0].id: {taken}",
        f"24: accounts[0].projects[0].connectors[0].id: {taken}",
        f"26: accounts[0].projects[0].numbers[0].number: {taken}",
        f"27: accounts[0].projects[0].numbers[1].number: {taken}",
    ]


async def test_a_connector_and_a_number_may_move_to_another_project(engine: AsyncEngine) -> None:
    await apply_file(engine)
    report = await apply_file(engine, changed(("id: reminders", "id: moved")))
    assert names(report, "created") == ["project moved"]
    assert names(report, "updated") == [
        "connector conn-live",
        "number +14155550100",
        "number +14155550101",
    ]


async def test_a_number_changes_hands_once_its_account_let_go_of_it(engine: AsyncEngine) -> None:
    await apply_file(engine)
    file = changed(
        ('          - {number: "+14155550101", environment: live, carrier: acme-twilio}\n', ""),
        ("+14155550199", "+14155550101"),
    )
    assert await refused(engine, file) == [
        '45: accounts[1].projects[0].numbers[0].number: belongs to account "acme" already'
    ]
    report = await apply_file(engine, file, prune=True)
    assert names(report, "updated") == ["number +14155550101"]
    assert names(report, "removed") == ["number +14155550199"]
    number = await row(engine, "number", "+14155550101")
    assert (number["project_id"], number["carrier_id"]) == ("globex-project", "globex-twilio")


async def test_a_file_may_name_what_only_the_database_has(engine: AsyncEngine) -> None:
    await apply_file(engine)
    await apply_file(engine, NUMBER)
    number = await row(engine, "number", "12345")
    assert (number["segments_per_second"], number["opt_out_replies"]) == (100, "ours")


def needs(agent: str, carrier: str) -> list[str]:
    return [
        f"5: accounts[0].projects[0].agent: {agent}",
        f"7: accounts[0].projects[0].numbers[0].carrier: {carrier}",
    ]


async def test_what_a_file_names_must_be_there(engine: AsyncEngine) -> None:
    assert await refused(engine, NUMBER) == needs(
        'there is no agent "bookings" in account "acme"',
        'there is no carrier "acme-twilio" in account "acme"',
    )


async def test_what_a_file_names_must_not_be_another_accounts(engine: AsyncEngine) -> None:
    await apply_file(engine)
    file = without_globex().replace("agent: bookings", "agent: globex-agent")
    assert await refused(engine, file) == [
        '22: accounts[0].projects[0].agent: there is no agent "globex-agent" in account "acme"'
    ]


async def test_what_a_file_names_must_not_be_removed_by_it(engine: AsyncEngine) -> None:
    await apply_file(engine)
    assert await refused(engine, NUMBER, prune=True) == needs(
        'agent "bookings" is not in the file, so --prune removes it',
        'carrier "acme-twilio" is not in the file, so --prune removes it',
    )


async def test_what_a_file_names_must_not_have_been_removed(engine: AsyncEngine) -> None:
    await apply_file(engine)
    await apply_file(engine, "accounts: [{id: acme}]", prune=True)
    assert await refused(engine, NUMBER) == needs(
        'agent "bookings" was removed; put it into the file again',
        'carrier "acme-twilio" was removed; put it into the file again',
    )


async def test_an_account_sid_stays_with_its_entry(engine: AsyncEngine) -> None:
    await apply_file(engine)
    file = STANDARD_YAML.replace("acme-twilio", "renamed")
    (found,) = await refused(engine, file)
    assert found.startswith(
        '9: accounts[0].carriers[0].account_sid: is that of carrier "acme-twilio" already'
    )


async def test_two_entries_may_trade_what_no_two_may_have(engine: AsyncEngine) -> None:
    await apply_file(engine)
    before = await everything(engine)
    sid = "account_sid: "
    file = STANDARD_YAML.replace(f'{sid}"${{ACME_SID}}"', f"{sid}X")
    file = file.replace("${GLOBEX_SID}", "${ACME_SID}").replace(
        f"{sid}X", f'{sid}"${{GLOBEX_SID}}"'
    )
    report = await apply_file(engine, file)
    assert names(report, "updated") == ["carrier acme-twilio", "carrier globex-twilio"]
    after = await everything(engine)
    one, two = ("acme-twilio",), ("globex-twilio",)
    assert after["carrier"][one]["account_sid"] == before["carrier"][two]["account_sid"]
    assert after["carrier"][two]["account_sid"] == before["carrier"][one]["account_sid"]


async def test_a_connector_without_a_number_is_warned_about(engine: AsyncEngine) -> None:
    file = changed(("conn-live, environment: live", "conn-live, environment: dev"))
    report = await apply_file(engine, file)
    (warning,) = report.warnings
    assert warning.path == ("accounts", 0, "projects", 0, "connectors", 0, "environment")
    assert warning.problem == (
        'project "reminders" has no number for dev: sends that name no number are refused'
    )


async def test_a_connector_whose_numbers_only_the_database_has_is_well(engine: AsyncEngine) -> None:
    await apply_file(engine)
    text = without_globex()
    text = text[: text.index("        numbers:")]
    assert (await apply_file(engine, text)).warnings == []
    with_globex_gone = text.replace("id: reminders", "id: empty").replace("conn-live", "conn-new")
    assert len((await apply_file(engine, with_globex_gone)).warnings) == 1
