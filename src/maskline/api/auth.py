"""Who is asking: HTTP Basic with an Account SID and its auth token.

Tokens are compared as keyed digests in constant time. A header that was right is remembered for 5 seconds, so the hot
path pays for a dictionary look-up and a rotation takes effect within that time.
"""

from __future__ import annotations

import base64
import binascii

from maskline.clock import Clock
from maskline.domain import problems
from maskline.domain.ids import canonical, is_sid
from maskline.domain.problems import Problem
from maskline.store.accounts import find_account
from maskline.store.engine import Store
from maskline.vault import Vault

CACHE_S = 5.0
MOST_CACHED = 10_000

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="maskline", charset="UTF-8"'}


class BasicAuth:
    """`Authenticator` by the accounts in the store."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._known: dict[bytes, tuple[str, float]] = {}

    async def account_of(self, authorization: bytes | None) -> str:
        """The SID of the account whose credentials these are. Raises 20003."""
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
        sid, token = _parse(authorization)
        account = await self._store.read(find_account, canonical(sid)) if is_sid(sid, "AC") else None
        # An unknown account costs as much time as a wrong token.
        good = self._vault.matches(token, account.token_digest if account else "")
        if account is not None and not good and account.previous_digest is not None:
            good = self._vault.matches(token, account.previous_digest)
        if account is None or not good:
            raise Problem(problems.AUTHENTICATION_FAILED, "Authentication failed", headers=_CHALLENGE)
        return account.sid


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
