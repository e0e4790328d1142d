"""Calls of the sandbox's handsets, played to their end."""

from __future__ import annotations

from collections.abc import Mapping

from maskline.carriers.sandbox_calls import CallScript, HandsetCalling
from maskline.clock import Clock
from maskline.domain.sandbox import NAME, HandsetCall
from maskline.domain.twiml import Verb
from maskline.flows.call_relay import CallRelay
from maskline.flows.calls import CallRequest, Calls
from maskline.mint import Mint
from maskline.store.engine import Store
from maskline.store.sandbox import note_call


class Handsets:
    """The flow."""

    def __init__(self, store: Store, clock: Clock, mint: Mint, calls: Calls, relay: CallRelay) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._calls = calls
        self._relay = relay

    async def call(self, service_sid: str, script: CallScript) -> HandsetCall:
        """Play a call to a number of this Service, to its end."""

        async def ask(url: str, method: str, form: Mapping[str, str]) -> list[Verb]:
            return await self._relay.ask(
                CallRequest(NAME, script.account_sid, service_sid, {}, form), url, method
            )

        async def note(call: HandsetCall) -> None:
            await self._store.write(note_call, call)

        calling = HandsetCalling(script, self._mint, ask, note, self._clock.now())
        return await calling.run(self._calls.webhook(script.account_sid, service_sid))
