"""What customers' servers want done with a call, asked for from here: a carrier that reads no TwiML is led through us,
and the sandbox's handsets have no other way. Our own webhook is asked without the wire, customers' servers over it,
signed as Twilio signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlencode

from maskline.domain import problems
from maskline.domain.call import Event, Unanswered
from maskline.domain.http import Answer, HttpError
from maskline.domain.problems import Problem
from maskline.domain.signature import HEADER, sign
from maskline.domain.twiml import Hangup, Message, TwimlError, Verb, parse_twiml, reroute, resolve
from maskline.domain.webhook_url import redact
from maskline.flows.calls import CallRequest, Calls
from maskline.mint import Mint
from maskline.net import HttpClient, add_query
from maskline.store.accounts import find_account
from maskline.store.engine import Store
from maskline.store.events import insert_event
from maskline.store.services import load_service
from maskline.vault import Vault, WrongKey

KIND = "call address"


class CallRelay:
    """The flow."""

    def __init__(self, store: Store, mint: Mint, vault: Vault, http: HttpClient, calls: Calls) -> None:
        self._store = store
        self._mint = mint
        self._vault = vault
        self._http = http
        self._calls = calls

    async def answer(self, request: CallRequest) -> list[Verb]:
        """What a carrier is to do now that asks nobody but us. Every address in it is below `request.webhook`."""
        match request.query.get("Event"):
            case Event.FOLLOW:
                return self._through(request, await self._follow(request))
            case Event.TELL:
                await self._pass_on(request)
                return []
            case _:
                return self._through(request, await self._calls.answer(request))

    async def ask(self, request: CallRequest, url: str, method: str) -> list[Verb]:
        """What is said at an address about the call of this request. Raises Unanswered."""
        handed_back = self._calls.read_address(url, request.carrier_account, request.form)
        if handed_back is not None:
            try:
                await self._store.read(load_service, request.account_sid, handed_back.service_sid)
            except Problem:
                raise Unanswered("HTTP 403") from None
            if handed_back.account_sid != request.account_sid:
                raise Unanswered("HTTP 403")
            return await self._calls.answer(replace(handed_back, webhook=request.webhook))
        try:
            answer = await self._fetch(request.account_sid, url, method, request.form)
            if not 200 <= answer.status < 300:
                raise Unanswered(f"HTTP {answer.status}")
            verbs = parse_twiml(answer.body, answer.content_type) if answer.body.strip() else []
            await self._calls.check_callers(request.account_sid, verbs)
            return resolve(verbs, url)
        except HttpError as error:
            raise Unanswered(str(error)) from None
        except TwimlError as error:
            raise Unanswered(f"{error.code.number}: {error.detail}") from None

    def _through(self, request: CallRequest, verbs: Iterable[Verb]) -> list[Verb]:
        ours = f"{request.webhook}?"

        def through(method: str, url: str, asks: bool) -> str:
            if url.startswith(ours):
                return url
            concealed = self._vault.conceal(KIND, f"{request.account_sid} {method} {url}")
            return ours + urlencode({"Event": Event.FOLLOW if asks else Event.TELL, "Address": concealed})

        return reroute(verbs, through)

    async def _follow(self, request: CallRequest) -> list[Verb]:
        """What the customer's server says whose address is in the request's."""
        method, url = self._address_in(request)
        if not url:
            return [Hangup()]
        try:
            verbs = await self.ask(request, url, method)
            if any(isinstance(verb, Message) for verb in verbs):
                raise Unanswered("<Message> is not carried out for a call")
        except Unanswered as error:
            await self._tell(request, f"{redact(url)} ({error})")
            return [Hangup()]
        return verbs

    async def _pass_on(self, request: CallRequest) -> None:
        """Have the customer's server hear it. Whatever it says is nothing to us, nor whether it hears."""
        method, url = self._address_in(request)
        if url:
            with suppress(Unanswered, HttpError):
                await self._fetch(request.account_sid, url, method, request.form)

    def _address_in(self, request: CallRequest) -> tuple[str, str]:
        """How and where a customer's server is to be reached; empty if the request's address holds none of theirs."""
        try:
            revealed = self._vault.reveal(KIND, request.query.get("Address", ""))
            account_sid, method, url = revealed.split(" ", 2)
        except (WrongKey, ValueError):
            return "", ""
        return (method, url) if account_sid == request.account_sid else ("", "")

    async def _tell(self, request: CallRequest, detail: str) -> None:
        await self._store.write(
            insert_event,
            self._mint.sid("NO"),
            request.account_sid,
            problems.OUT_OF_SESSION_FAILED,
            detail,
            request.service_sid,
        )

    async def _fetch(self, account_sid: str, url: str, method: str, form: Mapping[str, str]) -> Answer:
        account = await self._store.read(find_account, account_sid)
        token = self._vault.open(account.token_sealed, account_sid) if account is not None else ""
        try:
            if method == "POST":
                headers = {HEADER: sign(token, url, form)}
                return await self._http.post_form(url, form, headers=headers)
            asked = add_query(url, form)
            return await self._http.get(asked, headers={HEADER: sign(token, asked, {})})
        except ValueError:
            raise Unanswered("not a URL") from None
