"""/sandbox: the handsets of the sandbox carrier, for the account that asks: text, look, script."""

from __future__ import annotations

import json
import re
from typing import Any

from maskline.api.context import Context
from maskline.api.http import Answer, Request
from maskline.api.pages import answer_page, parse_filters
from maskline.api.render import render_date
from maskline.carriers.sandbox import SandboxCarrier
from maskline.carriers.sandbox_calls import CallScript
from maskline.domain import problems
from maskline.domain.call import LONGEST_S
from maskline.domain.media import MOST_MEDIA, read_type
from maskline.domain.phone import identifier_key
from maskline.domain.problems import Problem
from maskline.domain.sandbox import Abilities, CallAnswer, HandsetCall, HandsetMessage, Outcome
from maskline.domain.text import MOST_BODY
from maskline.net import USER_AGENT
from maskline.store.engine import Tx
from maskline.store.numbers import find_number
from maskline.store.sandbox import (
    find_abilities,
    is_reachable,
    list_handset_calls,
    list_handset_messages,
    set_abilities,
    set_script,
)

MOST_NUMBER = 191
MOST_DELAY_MS, MOST_TIMES = 600_000, 1_000_000_000
MOST_DIGITS, SHORT_S = 20, 5
_KEYS = re.compile("[0-9*#]{0,100}")


def _render(message: HandsetMessage) -> dict[str, Any]:
    return {
        "sid": message.sid,
        "from": message.from_number,
        "to": message.to_number,
        "body": message.body,
        "media": json.loads(message.media),
        "direction": message.direction,
        "status": message.status,
        "handovers": message.handovers,
        "date_created": render_date(message.created_at),
    }


def _render_call(call: HandsetCall) -> dict[str, Any]:
    return {
        "sid": call.sid,
        "from": call.from_number,
        "to": call.to_number,
        "status": call.status,
        "duration": call.duration_s,
        "legs": call.legs,
        "verbs": call.verbs,
        "date_created": render_date(call.created_at),
    }


def _refuse_own(request: Request) -> None:
    """Raise 80701 if it is this server that asks: where a customer's address leads here, with the account's credentials
    in it, each call or text would make the next one, for ever.
    """
    if request.exchange.headers.get(b"user-agent") == USER_AGENT.encode():
        raise Problem(problems.PARAMETER_INVALID, "the address in TwiML (it leads to this server itself)")


class Sandbox:
    """The handlers. The sandbox must be on."""

    def __init__(self, context: Context, carrier: SandboxCarrier) -> None:
        self._c = context
        self._carrier = carrier

    async def text(self, request: Request) -> Answer:
        _refuse_own(request)
        params = request.params
        from_ = identifier_key(params.required("From", MOST_NUMBER))
        to = identifier_key(params.required("To", MOST_NUMBER))
        body = params.text("Body", MOST_BODY) or ""
        media = params.urls("MediaUrl", MOST_MEDIA)
        types = [read_type(text) for text in params.texts("MediaContentType")]
        if not body and not media:
            raise Problem(problems.PARAMETER_INVALID, "Body or MediaUrl is required")
        if types and (not all(types) or len(types) != len(media)):
            raise Problem(
                problems.PARAMETER_INVALID,
                "MediaContentType (one such as image/png for each MediaUrl, or none)",
            )
        message = await self._carrier.text(request.account_sid, from_, to, body, media, types)
        if message is None:
            raise Problem(problems.NOT_FOUND)
        return Answer(_render(message), 201)

    async def list(self, request: Request) -> Answer:
        shown = parse_filters(request.params, "To", "From", "Handset", "Direction")
        filters = {
            "from_" if name == "From" else name.lower(): value
            if name == "Direction"
            else identifier_key(value)
            for name, value in shown.items()
        }
        return await answer_page(
            self._c.store,
            self._c.render.url("/sandbox/messages"),
            "messages",
            request.params,
            lambda tx, seek: list_handset_messages(tx, request.account_sid, seek, filters),
            _render,
            filters=shown,
        )

    async def call(self, request: Request) -> Answer:
        _refuse_own(request)
        params = request.params
        to = identifier_key(params.required("To", MOST_NUMBER))
        duration_s = params.integer("Duration", 0, LONGEST_S)
        script = CallScript(
            account_sid=request.account_sid,
            from_=identifier_key(params.required("From", MOST_NUMBER)),
            to=to,
            answer=params.choice("Answer", CallAnswer) or CallAnswer.ANSWER,
            duration_s=SHORT_S if duration_s is None else duration_s,
            digits=tuple(params.texts("Digits")),
        )
        if len(script.digits) > MOST_DIGITS or not all(_KEYS.fullmatch(keys) for keys in script.digits):
            raise Problem(
                problems.PARAMETER_INVALID, f"Digits (keys of a telephone, at most {MOST_DIGITS} times)"
            )
        number = await self._c.store.read(find_number, to)
        if (
            number is None
            or not is_reachable(number, request.account_sid)
            or number.service_sid is None
            or not number.voice
        ):
            raise Problem(problems.NOT_FOUND)
        call = await self._c.handsets.call(number.service_sid, script)
        return Answer(_render_call(call), 201)

    async def list_calls(self, request: Request) -> Answer:
        shown = parse_filters(request.params, "To", "From")
        filters = {
            "from_" if name == "From" else "to": identifier_key(value) for name, value in shown.items()
        }
        return await answer_page(
            self._c.store,
            self._c.render.url("/sandbox/calls"),
            "calls",
            request.params,
            lambda tx, seek: list_handset_calls(tx, request.account_sid, seek, filters),
            _render_call,
            filters=shown,
        )

    async def script(self, request: Request) -> Answer:
        params, account_sid = request.params, request.account_sid
        to = params.text("To", MOST_NUMBER)
        outcome = params.choice("Outcome", Outcome)
        keys, look_up = params.boolean("CarrierKeys"), params.boolean("LookUp")
        delay_ms = params.integer("DelayMs", 0, MOST_DELAY_MS)
        times = params.integer("Times", 1, MOST_TIMES)
        if (not to or outcome is None) and keys is None and look_up is None:
            raise Problem(
                problems.PARAMETER_INVALID, "To and Outcome, or CarrierKeys, or LookUp are required"
            )
        if bool(to) != (outcome is not None):
            raise Problem(problems.PARAMETER_INVALID, "To and Outcome go together")

        def write(tx: Tx) -> Abilities:
            if to and outcome is not None:
                set_script(tx, account_sid, identifier_key(to), outcome, delay_ms, times)
            abilities = find_abilities(tx, account_sid)
            changed = Abilities(
                abilities.carrier_keys if keys is None else keys,
                abilities.look_up if look_up is None else look_up,
            )
            if changed != abilities:
                set_abilities(tx, account_sid, changed)
            return changed

        abilities = await self._c.store.write(write)
        return Answer(
            {
                "to": identifier_key(to) if to else None,
                "outcome": outcome,
                "delay_ms": delay_ms,
                "times": times,
                "carrier_keys": abilities.carrier_keys,
                "look_up": abilities.look_up,
            }
        )
