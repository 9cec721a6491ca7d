import pytest

from textback.core import rich, segments
from textback.core.phone import Phone
from textback.core.template import Template

SMS, RCS, WHATSAPP = (
    Phone("+14155550123"),
    Phone("rcs:+14155550123"),
    Phone("whatsapp:+14155550123"),
)
PHOTO = {"url": "https://media.example/1", "content_type": "image/jpeg"}
PLACE = {
    "url": "geo:37.78,-122.41",
    "content_type": "location",
    "latitude": "37.78",
    "longitude": "-122.41",
    "address": "",
    "label": "Home",
}
TAPPED = {"url": "", "content_type": "button", "payload": "yes_1", "text": "Yes", "type": "QUICK"}


@pytest.mark.parametrize(
    ("text", "media", "read"),
    [
        ("Yes", [], "Yes"),
        ("Yes", [TAPPED], "Yes <metadata><button/></metadata>"),
        ("", [PLACE], "<metadata><location/></metadata>"),
        (
            "Here",
            [TAPPED, PLACE, PHOTO, PHOTO],
            "Here <metadata><media/><location/><button/></metadata>",
        ),
    ],
)
def test_an_agent_reads_what_came_beside_the_words(
    text: str, media: list[dict[str, str]], read: str
) -> None:
    assert rich.marked(text, media, RCS) == read
    assert rich.marked(text, media, WHATSAPP) == read
    assert rich.marked(text, media, SMS) == text


def test_a_language_model_is_told_in_words() -> None:
    assert rich.told(PHOTO) == "[attached: image/jpeg]"
    assert rich.told({"url": "https://media.example/1", "content_type": ""}) == "[attached: a file]"
    assert rich.told(PLACE) == "[location: 37.78, -122.41, Home]"
    assert rich.told(TAPPED) == "[tapped: yes_1]"
    assert rich.told({**TAPPED, "payload": ""}) == "[tapped: Yes]"


def test_segments_count_where_somebody_counts_them() -> None:
    long = "x" * 400
    by_template = Template(content_sid="HX" + "0" * 32)
    number, service = Phone("+14155550100"), Phone("MG" + "0" * 32)
    assert segments.of_ours(long, number, None) == 3
    assert segments.of_ours(long, service, None) == 3
    assert segments.of_ours(long, Phone("whatsapp:+14155550100"), None) == 1
    assert segments.of_ours(long, Phone("chat:reminders"), None) == 1
    assert segments.of_ours(long, number, by_template) == 1
