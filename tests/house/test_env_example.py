"""`.env.example` is what an operator reads first: it has to be complete and true."""

from pathlib import Path

from textback.settings import Settings

LINES = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()
PREFIX = "TEXTBACK_"


def values(lines: list[str]) -> dict[str, str]:
    """What a file with these lines sets, by the names of the fields."""
    settings = [line.partition("=") for line in lines if line.startswith(PREFIX)]
    return {name.removeprefix(PREFIX).lower(): value for name, _, value in settings}


def uncommented() -> list[str]:
    return [line.removeprefix("#") if line.startswith("#" + PREFIX) else line for line in LINES]


def test_it_names_every_setting_once_and_nothing_else() -> None:
    named = [line.partition("=")[0] for line in uncommented() if line.startswith(PREFIX)]
    assert named == [PREFIX + name.upper() for name in Settings.model_fields]


def test_one_line_above_each_setting_says_what_it_is_for() -> None:
    lines = uncommented()
    for name, field in Settings.model_fields.items():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{PREFIX}{name.upper()}="))
        assert field.description
        assert lines[at - 1].startswith(f"# {field.description}")
        assert lines[at - 2] == ""


def test_copied_unchanged_it_sets_nothing() -> None:
    assert not any(values(LINES).values())


def test_what_has_no_default_waits_to_be_filled_in() -> None:
    empty = {name for name, field in Settings.model_fields.items() if field.default is None}
    assert set(values(LINES)) == empty


def test_the_defaults_it_shows_are_the_defaults() -> None:
    shown = {name: value for name, value in values(uncommented()).items() if value}
    assert Settings.model_validate(shown) == Settings.model_validate({})


def test_it_holds_no_secret() -> None:
    assert values(uncommented())["secret_key"] == ""
