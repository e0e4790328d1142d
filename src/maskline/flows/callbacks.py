"""A callback from its row to what the customer's server said of it: signed, sent once, told as an attempt.

Which ones are sent and when is the store's; that a receiver that stalls or fails costs nobody else is `lanes`.
"""

from __future__ import annotations

import structlog

from maskline.clock import Clock
from maskline.domain.callback import render_form, token_of
from maskline.domain.signature import HEADER, sign
from maskline.domain.webhook_url import redact
from maskline.mint import Mint
from maskline.net import HttpClient, HttpError
from maskline.store.callbacks import Attempt, Callback, record_attempts
from maskline.store.engine import Store
from maskline.vault import Vault

TOKEN_HEADER = "I-Twilio-Idempotency-Token"  # noqa: S105  (a header's name)

AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


class Callbacks:
    """The flow. `public_url` is the prefix of the addresses in a callback."""

    def __init__(
        self, store: Store, clock: Clock, mint: Mint, vault: Vault, http: HttpClient, public_url: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._vault = vault
        self._http = http
        self._accounts = f"{public_url.rstrip('/')}/2010-04-01/Accounts"

    async def tell(self, callback: Callback, run: str) -> bool:
        """Send a callback that was claimed for this run, and keep how it went. Returns whether it was taken."""
        attempt = await self._send(callback, run)
        while True:
            try:
                await self._store.batch(record_attempts, attempt)
            except Exception:
                _log.exception("callback.record_failed", callback=callback.sid)
                await self._clock.sleep(AGAIN_S)
            else:
                return attempt.good

    async def _send(self, callback: Callback, run: str) -> Attempt:
        interaction = callback.interaction
        attempt = Attempt(
            id=callback.id,
            run=run,
            sid=callback.sid,
            number=callback.attempt,
            account_sid=callback.account_sid,
            service_sid=interaction.service_sid,
            session_sid=interaction.session_sid,
            interaction_sid=interaction.sid,
            url=redact(callback.url),
            began_at=self._clock.now(),
            duration_ms=0,
            status=None,
            error="",
            event_sid=self._mint.sid("NO"),
            bodies=callback.bodies,
        )
        began = self._clock.uptime()
        try:
            attempt.status = await self._post(callback)
        except HttpError as error:
            attempt.status = error.status
            if not attempt.good:  # what follows the head of a 2xx is nothing to us
                attempt.error = f"{error.kind.value}: {error.detail}" if error.detail else error.kind.value
        except Exception:
            _log.exception("callback.defect", callback=callback.sid)
            attempt.error = "defect"
        attempt.duration_ms = int((self._clock.uptime() - began) * 1000)
        return attempt

    async def _post(self, callback: Callback) -> int:
        account_sid = callback.account_sid
        url = f"{self._accounts}/{account_sid}"
        form = render_form(callback.interaction, account_sid, callback.told, url)
        token = self._vault.open(callback.token_sealed, account_sid)
        headers = {
            HEADER: sign(token, callback.url, form.items()),
            TOKEN_HEADER: token_of(callback.sid),
        }
        return (await self._http.post_form(callback.url, form, headers=headers)).status
