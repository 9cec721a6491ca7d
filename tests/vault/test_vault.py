import base64
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from textback.vault import MAKE_A_KEY, FernetVault

OLD = base64.urlsafe_b64encode(b"o" * 32).decode()
NEW = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()


@given(st.text())
def test_what_was_sealed_is_opened_again(secret: str) -> None:
    vault = FernetVault(NEW)
    assert vault.open(vault.seal(secret)) == secret


def test_a_sealed_secret_does_not_show_it_and_never_looks_the_same() -> None:
    vault = FernetVault(NEW)
    first, second = vault.seal("hunter2"), vault.seal("hunter2")
    assert first != second
    assert "hunter2" not in first + second
    assert base64.b64encode(b"hunter2").decode().rstrip("=") not in first + second


def test_the_first_key_seals_and_every_key_opens() -> None:
    sealed_before = FernetVault(OLD).seal("token")
    rotated = FernetVault(f"{NEW}, {OLD}")
    assert rotated.open(sealed_before) == "token"
    sealed_after = rotated.seal("token")
    assert FernetVault(NEW).open(sealed_after) == "token"
    with pytest.raises(ValueError, match="no key"):
        FernetVault(OLD).open(sealed_after)


@pytest.mark.parametrize("sealed", ["", "token", "gAAAAAB", "ключ", OLD])
def test_what_no_key_of_ours_sealed_is_not_opened(sealed: str) -> None:
    with pytest.raises(ValueError, match="TEXTBACK_SECRET_KEY opens this") as caught:
        FernetVault(NEW).open(sealed)
    assert not sealed or sealed not in str(caught.value)


def test_a_changed_secret_is_not_opened() -> None:
    vault = FernetVault(NEW)
    sealed = vault.seal("token")
    changed = sealed[:30] + ("A" if sealed[30] != "A" else "B") + sealed[31:]
    with pytest.raises(ValueError, match="no key"):
        vault.open(changed)


@pytest.mark.parametrize(
    "keys",
    [
        "",
        " , ",
        "secret",
        base64.urlsafe_b64encode(b"k" * 31).decode(),
        base64.urlsafe_b64encode(b"k" * 33).decode(),
        base64.b64encode(b"\xfb\xff" * 16).decode(),
        f"{NEW} {OLD}",
        f"{NEW},hunter2",
        f"!{NEW}",
        NEW[:20] + "\n" + NEW[20:],
        "ы" * 43 + "=",
    ],
)
def test_a_bad_key_is_refused_with_the_way_to_make_a_good_one(keys: str) -> None:
    with pytest.raises(ValueError, match="TEXTBACK_SECRET_KEY") as caught:
        FernetVault(keys)
    assert MAKE_A_KEY in str(caught.value)
    for part in keys.split(","):
        assert not part.strip() or part.strip() not in str(caught.value)


def test_the_way_to_make_a_key_makes_one() -> None:
    code = MAKE_A_KEY.split('"')[1]
    key = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    vault = FernetVault(key.stdout.strip())
    assert vault.open(vault.seal("token")) == "token"


@pytest.mark.parametrize("keys", [f" {NEW} ", f"{NEW},", f",{NEW}", NEW.rstrip("=")])
def test_spaces_an_empty_place_and_a_lost_equals_sign_do_no_harm(keys: str) -> None:
    assert Fernet(NEW).decrypt(FernetVault(keys).seal("token")) == b"token"


def test_keys_are_not_shown() -> None:
    vault = FernetVault(f"{NEW},{OLD}")
    for shown in (repr(vault), str(vault)):
        assert NEW.rstrip("=") not in shown
        assert OLD.rstrip("=") not in shown


def test_resealing_leaves_what_the_first_key_sealed_and_refuses_what_no_key_opens() -> None:
    rotated, before = FernetVault(f"{NEW},{OLD}"), FernetVault(OLD).seal("token")
    resealed = rotated.reseal(before)
    assert FernetVault(NEW).open(resealed) == "token"
    assert rotated.reseal(resealed) == resealed
    with pytest.raises(ValueError, match="no key"):
        FernetVault(NEW).reseal(before)
