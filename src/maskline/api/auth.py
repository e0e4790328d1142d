"""Who is asking: HTTP Basic with an Account SID and its auth token, or with an API key's SID and its secret.

Secrets are compared as keyed digests in constant time. A header that was right is remembered for 5 seconds, so the hot
path pays for a dictionary look-up, and a rotation, a deletion or a suspension takes effect within that time.
"""

from __future__ import annotations

import base64
import binascii

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Problem
from maskline.store.engine import Store
from maskline.store.keys import find_credentials
from maskline.vault import Vault

CACHE_S = 5.0
MOST_CACHED = 10_000

_NO_DIGEST = "-" * 64  # no secret's
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="maskline", charset="UTF-8"'}


class BasicAuth:
    """`Authenticator` by the accounts in the store."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._known: dict[bytes, tuple[str, float]] = {}

    async def account_of(self, authorization: bytes | None) -> str:
        """The SID of the account whose credentials these are. Raises 20003, 20005."""
        now = self._clock.uptime()
        if authorization is not None and (known := self._known.get(authorization)) is not None:
            if now < known[1]:
                return known[0]
            del self._known[authorization]
        account_sid = await self._check(authorization)
        if len(self._known) >= MOST_CACHED:
            self._known.clear()
        assert authorization is not None
        self._known[authorization] = (account_sid, now + CACHE_S)
        return account_sid

    async def _check(self, authorization: bytes | None) -> str:
        sid, secret = _parse(authorization)
        well_formed = is_sid(sid, "AC") or is_sid(sid, "SK")
        found = await self._store.read(find_credentials, canonical(sid)) if well_formed else None
        # Two comparisons, whatever there is to compare with: what is unknown costs as much time as a wrong secret.
        good = self._vault.matches(secret, found.digest if found else _NO_DIGEST)
        good |= self._vault.matches(secret, (found and found.previous_digest) or _NO_DIGEST)
        if found is None or not good:
            raise Problem(problems.AUTHENTICATION_FAILED, "Authentication failed", headers=_CHALLENGE)
        if not found.active:
            raise Problem(problems.ACCOUNT_NOT_ACTIVE)
        return found.account_sid


def _parse(authorization: bytes | None) -> tuple[str, str]:
    scheme, _, credentials = (authorization or b"").partition(b" ")
    if scheme.lower() == b"basic":
        try:
            user, colon, password = (
                base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            pass
        else:
            if colon:
                return user, password
    raise Problem(problems.AUTHENTICATION_FAILED, "Authenticate with HTTP Basic", headers=_CHALLENGE)
