"""Forms that only our own pages can send: a sealed token in the form, bound to where it goes and to a cookie.

A page that stands in a frame of the platform's gets no cookie, since browsers keep those from frames. Its form is known
by the browser's own word that the request comes from a page of ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rewards.errors import DatabaseError
from storage.secrets import SecretBox

FIELD = "_token"
COOKIE = "perennial_form"
LIVES = timedelta(hours=2)
_COLUMN = "form token"


@dataclass(frozen=True)
class FormTokens:
    """Makes and checks tokens. `origins` are where our pages live, as browsers write it: "https://host"."""

    box: SecretBox
    origins: frozenset[str]

    def token(self, goes_to: str, cookie: str, now: datetime) -> str:
        """The token of a form that is sent to this path; without a cookie, of a page in a frame."""
        text = json.dumps([goes_to, cookie, (now + LIVES).timestamp()])
        return base64.urlsafe_b64encode(self.box.seal(text, 0, _COLUMN)).decode()

    def is_ours(
        self, token: str, goes_to: str, cookie: str, headers: Mapping[str, str], now: datetime
    ) -> bool:
        """True when one of our pages made the token for this path and this browser, not long ago, and sent it."""
        opened = self._opened(token)
        if opened is None:
            return False
        path, given_to, until = opened
        if path != goes_to or now.timestamp() > until or not self._may_come_from(headers, bool(given_to)):
            return False
        return not given_to or hmac.compare_digest(given_to.encode(), cookie.encode())

    def _opened(self, token: str) -> tuple[str, str, float] | None:
        try:
            sealed = base64.urlsafe_b64decode(token.encode())
            path, cookie, until = json.loads(self.box.open_sealed(sealed, 0, _COLUMN))
        except (DatabaseError, binascii.Error, ValueError):
            return None
        return path, cookie, until

    def _may_come_from(self, headers: Mapping[str, str], has_cookie: bool) -> bool:
        """What browsers say of where a request comes from must fit; with a cookie they may say nothing."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return has_cookie
        return site in (None, "same-origin") and (origin is None or origin in self.origins)


def new_cookie() -> str:
    """What a browser is given to be known by when it sends a form."""
    return secrets.token_urlsafe(24)
