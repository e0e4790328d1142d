"""A callback from its row to what the customer's server said of it: signed, sent once, told as an attempt.

Which ones are sent and when is the store's; that a receiver that stalls or fails costs nobody else is `Lanes`.
"""

from __future__ import annotations

import structlog

from maskline.clock import Clock
from maskline.domain.callback import render_form, token_of
from maskline.domain.signature import HEADER, sign
from maskline.domain.webhook_url import redact
from maskline.mint import Mint
from maskline.net import HttpClient, HttpError
from maskline.store.callbacks import Attempt, Callback
from maskline.vault import Vault

TOKEN_HEADER = "I-Twilio-Idempotency-Token"  # noqa: S105  (a header's name)

MOST_PAUSE_S = 30.0
FIRST_PAUSE_S = 0.5
FORGET_S = 3600.0

_log = structlog.get_logger(__name__)


class Callbacks:
    """The flow. `public_url` is the prefix of the addresses in a callback."""

    def __init__(self, clock: Clock, mint: Mint, vault: Vault, http: HttpClient, public_url: str) -> None:
        self._clock = clock
        self._mint = mint
        self._vault = vault
        self._http = http
        self._accounts = f"{public_url.rstrip('/')}/2010-04-01/Accounts"

    async def send(self, callback: Callback, run: str) -> Attempt:
        """Send a callback that was claimed for this run, and say how it went. Raises nothing."""
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


class Lanes:
    """How many callbacks each Service may have under way: `most` while its receiver answers; after a failure one at a
    time, after a pause that doubles with each. All that fail have about `most` together, so that places are left for
    the others. Of those that were under way together, the first failure counts; after FORGET_S without another it is
    forgotten. Time is an argument, in seconds that never step.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._under_way: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def busy(self, now: float) -> dict[str, int]:
        """How many of its places each Service does not have now."""
        for service_sid in [sid for sid, until in self._until.items() if now - until > FORGET_S]:
            self._forget(service_sid)
        taken = dict(self._under_way)
        full = sum(self._under_way.get(service_sid, 0) for service_sid in self._until) >= self.most
        for service_sid, until in self._until.items():
            none = full or now < until or service_sid in self._under_way
            taken[service_sid] = self.most if none else self.most - 1
        return taken

    def next_at(self, now: float) -> float | None:
        """When the next pause ends; None if there is none."""
        return min((until for until in self._until.values() if until > now), default=None)

    def began(self, service_sid: str) -> None:
        """One more is under way."""
        self._under_way[service_sid] = self._under_way.get(service_sid, 0) + 1

    def ended(self, service_sid: str, now: float, *, good: bool) -> None:
        """One is no longer under way."""
        left = self._under_way[service_sid] - 1
        if left:
            self._under_way[service_sid] = left
        else:
            del self._under_way[service_sid]
        if good:
            self._forget(service_sid)
        elif now >= self._until.get(service_sid, now):
            failures = self._failures[service_sid] = self._failures.get(service_sid, 0) + 1
            self._until[service_sid] = now + min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))

    def _forget(self, service_sid: str) -> None:
        self._failures.pop(service_sid, None)
        self._until.pop(service_sid, None)
