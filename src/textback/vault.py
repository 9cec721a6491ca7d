"""The vault: seals carrier tokens and engine secrets, so that a copy of the database tells none."""

import re
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from textback import logs

MAKE_A_KEY: Final = (
    'python3 -c "import base64,os;print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
)

# Checked by shape: the decoder would skip over characters that are not base64.
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


class FernetVault:
    """AES-128-CBC with HMAC-SHA256 (Fernet), under the keys of `TEXTBACK_SECRET_KEY`.

    The first key seals, every key opens. How to change over: docs/runbook.md, "Another secret key".
    """

    def __init__(self, keys: str) -> None:
        """`keys`: each 32 bytes in urlsafe base64, separated by commas. Raises ValueError."""
        found = [key.strip() for key in keys.split(",") if key.strip()]
        if not found:
            raise ValueError(f"TEXTBACK_SECRET_KEY is empty. Make a key: {MAKE_A_KEY}")
        for place, key in enumerate(found, start=1):
            if not _KEY.fullmatch(key):
                raise ValueError(
                    f"TEXTBACK_SECRET_KEY: key {place} of {len(found)} is not 32 bytes in urlsafe"
                    f" base64 (43 letters, digits, - or _, then =). Make a key: {MAKE_A_KEY}"
                )
        made = [Fernet(key.removesuffix("=") + "=") for key in found]
        self._newest, self._fernet = made[0], MultiFernet(made)

    def seal(self, secret: str) -> str:
        """Seal with the first key; the same secret looks different each time."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        try:
            opened = self._fernet.decrypt(sealed).decode()
        except (InvalidToken, ValueError):
            # Not chained: the cause says nothing, and a caller may log the chain.
            raise ValueError(
                "no key in TEXTBACK_SECRET_KEY opens this secret: put back the key that sealed it,"
                " or apply the secret again"
            ) from None
        logs.conceal(opened)
        return opened

    def reseal(self, sealed: str) -> str:
        """Under the first key: the same string, if it is already. Raises ValueError."""
        try:
            self._newest.decrypt(sealed)
        except (InvalidToken, ValueError):
            return self.seal(self.open(sealed))
        return sealed
