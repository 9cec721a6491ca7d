"""Headers of every answer, for browsers: what it may do with it, which is next to nothing.

https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
"""

import base64
import hashlib
import re
from typing import Final, TypeAlias

Raw: TypeAlias = tuple[tuple[bytes, bytes], ...]

_EVERY: Final[Raw] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
API: Final[Raw] = (
    *_EVERY,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Answers hold numbers and texts: they are shown in no frame and kept in no cache."""

OPEN: Final = ("/docs", "/openapi")
"""Paths of what is the same for everybody, and says itself what a browser may do with it."""

_FAULT: Final = 400

# Includes subdomains for nobody: they are not ours to decide for.
_HTTPS_ONLY: Final[Raw] = ((b"strict-transport-security", b"max-age=31536000"),)

_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Headers:
    """Made once; what is left to do for an answer is to look at its path."""

    def __init__(self, public_url: str) -> None:
        """`public_url`: where browsers reach us; if by https, then never again without."""
        https = _HTTPS_ONLY if public_url.startswith("https://") else ()
        self._api, self._open = (*API, *https), (*_EVERY, *https)

    def of(self, path: str, status: int) -> Raw:
        return self._open if path.startswith(OPEN) and status < _FAULT else self._api


def of_page(html: str) -> dict[str, str]:
    """For a page of ours: it runs the scripts that are written in it and those of our assets.

    Swagger UI styles its elements one by one, and draws with data: URLs.
    """
    scripts = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in _INLINE.findall(html)
    )
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'self' 'unsafe-inline'; script-src 'self' {scripts}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
