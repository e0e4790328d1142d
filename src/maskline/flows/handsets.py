"""Calls of the sandbox's handsets: where their TwiML comes from. Our own webhook is asked without the wire, customers'
servers over it, signed as a carrier of the account would.
"""

from __future__ import annotations

from collections.abc import Mapping

from maskline.carriers.sandbox import NAME
from maskline.carriers.sandbox_calls import CallScript, HandsetCalling, Unanswered
from maskline.clock import Clock
from maskline.domain.http import Answer, HttpError
from maskline.domain.problems import Problem
from maskline.domain.sandbox import HandsetCall
from maskline.domain.signature import HEADER, sign
from maskline.domain.twiml import TwimlError, Verb, parse_twiml, resolve
from maskline.flows.calls import Calls
from maskline.mint import Mint
from maskline.net import HttpClient, encode_form
from maskline.store.accounts import find_account
from maskline.store.engine import Store
from maskline.store.sandbox import note_call
from maskline.store.services import load_service
from maskline.vault import Vault


class Handsets:
    """The flow."""

    def __init__(
        self, store: Store, clock: Clock, mint: Mint, vault: Vault, http: HttpClient, calls: Calls
    ) -> None:
        self._store = store
        self._clock = clock
        self._mint = mint
        self._vault = vault
        self._http = http
        self._calls = calls

    async def call(self, service_sid: str, script: CallScript) -> HandsetCall:
        """Play a call to a number of this Service, to its end."""

        async def ask(url: str, method: str, form: Mapping[str, str]) -> list[Verb]:
            return await self._ask(script.account_sid, url, method, form)

        async def note(call: HandsetCall) -> None:
            await self._store.write(note_call, call)

        calling = HandsetCalling(script, self._mint, ask, note, self._clock.now())
        return await calling.run(self._calls.webhook(script.account_sid, service_sid))

    async def _ask(self, account_sid: str, url: str, method: str, form: Mapping[str, str]) -> list[Verb]:
        request = self._calls.read_address(url, NAME, form)
        if request is not None:
            try:
                await self._store.read(load_service, account_sid, request.service_sid)
            except Problem:
                raise Unanswered("HTTP 403") from None
            if request.account_sid != account_sid:
                raise Unanswered("HTTP 403")
            return await self._calls.answer(request)
        try:
            answer = await self._fetch(account_sid, url, method, form)
            if not 200 <= answer.status < 300:
                raise Unanswered(f"HTTP {answer.status}")
            return resolve(parse_twiml(answer.body, answer.content_type), url) if answer.body.strip() else []
        except HttpError as error:
            raise Unanswered(str(error)) from None
        except TwimlError as error:
            raise Unanswered(f"{error.code.number}: {error.detail}") from None

    async def _fetch(self, account_sid: str, url: str, method: str, form: Mapping[str, str]) -> Answer:
        account = await self._store.read(find_account, account_sid)
        token = self._vault.open(account.token_sealed, account_sid) if account is not None else ""
        try:
            if method == "POST":
                headers = {HEADER: sign(token, url, form.items())}
                return await self._http.post_form(url, form, headers=headers)
            place, mark, fragment = url.partition("#")
            asked = f"{place}{'&' if '?' in place else '?'}{encode_form(form)}{mark}{fragment}"
            return await self._http.get(asked, headers={HEADER: sign(token, asked)})
        except ValueError:
            raise Unanswered("not a URL") from None
