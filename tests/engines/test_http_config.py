import base64

import pytest
from pydantic import ValidationError

from tests.support.http_engine import SECRET
from textback.engines.http import HttpConfig


def test_a_config_is_read_as_it_is_written_in_a_file() -> None:
    config = HttpConfig.model_validate(
        {
            "kind": "http",
            "url": "http://127.0.0.1:9000/turn",
            "secret": SECRET,
            "timeout_seconds": 20,
        }
    )
    assert config.secret is not None
    assert config.secret.get_secret_value() == SECRET
    assert HttpConfig(url="https://example.com").timeout_seconds == 20
    assert SECRET not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "example.com/turn"},
        {"url": "ftp://example.com/turn"},
        {"url": "http://"},
        {"url": "http:///turn"},
        {"url": "http://example.com:99999/"},
        {"url": "http://[::1/"},
        {"url": ""},
        {"secret": "hunter2hunter2"},
        {"secret": "whsec_" + base64.b64encode(b"k" * 8).decode()},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": 301},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": "soon"},
        {"kind": "scripted"},
        {"header": "x"},
    ],
)
def test_a_wrong_config_is_refused_where_it_stands(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpConfig.model_validate({"url": "https://example.com/turn"} | wrong)
    assert [error["loc"] for error in caught.value.errors()] == [tuple(wrong)]
    assert "hunter2" not in str(caught.value)
