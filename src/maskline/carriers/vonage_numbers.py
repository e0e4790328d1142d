"""Where the traffic of Vonage's numbers goes, and how that is set and put back.

    GET  {rest}/account/numbers?pattern=14155550100      {"numbers": [{"msisdn": …, "country": "US", "app_id": …, …}]}
    POST {rest}/number/update     country=US&msisdn=14155550100&app_id=…&moHttpUrl=https://…/carriers/north/sms
    GET, PUT {base}/v2/applications/ID     {"capabilities": {"messages": {"webhooks": {"inbound_url": {…}}}}, …}

Calls, and messages of the Messages API, go to the application that a number is linked to; messages of the SMS API to
an address of the number's own, which Vonage sets only if a GET of it is answered 200.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from maskline.carriers.base import CarrierError, Checked, Keep, Kind, NotCarried
from maskline.carriers.checks import check_account
from maskline.carriers.webhooks import FORM, text_at
from maskline.domain.channel import scheme_of

LONGEST_SHORT_CODE = 6

# (method, address, body, its type): the JSON of the answer. Raises CarrierError.
Ask = Callable[..., Awaitable[dict[str, Any]]]


class VonageNumbers:
    """Those of one account."""

    def __init__(
        self,
        name: str,
        ask: Ask,
        key: RSAPrivateKey,
        application_id: str,
        *,
        url: str,
        base_url: str,
        rest_url: str,
        own_address: bool,
    ) -> None:
        """`url` is where the account's webhooks are. `own_address`: messages go to an address of each number's own."""
        self._name = name
        self._ask = ask
        self._key = key
        self._application = application_id
        self._url = url
        self._base = base_url
        self._rest = rest_url
        self._wanted = {"app_id": application_id, **({"moHttpUrl": f"{url}/sms"} if own_address else {})}
        self._with_messages = not own_address

    async def adopt(self, number: str, keep: Keep) -> None:
        """As `Carrier.adopt`."""
        if scheme_of(number):  # a channel's sender is set up by hand
            return
        resource = await self._find(number)
        await self._take_application()
        former = {name: text_at(resource, name) for name in self._wanted}
        if former != self._wanted:
            await keep(msgspec.json.encode(former).decode())
            await self._lead(resource, self._wanted)

    async def release(self, number: str, former: str) -> None:
        """As `Carrier.release`."""
        resource = await self._find(number)
        before = msgspec.json.decode(former, type=dict[str, str])
        # What others have changed since is theirs.
        ours = [name for name, value in self._wanted.items() if text_at(resource, name) == value]
        if back := {name: before[name] for name in ours if name in before}:
            await self._lead(resource, back)

    async def _find(self, number: str) -> dict[str, Any]:
        """What Vonage has of a number. Raises NotCarried."""
        digits = number.removeprefix("+")
        query = {"pattern": digits, "search_pattern": 0, "size": 100}
        found = (await self._ask("GET", f"{self._rest}/account/numbers?{urlencode(query)}")).get("numbers")
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict) and text_at(one, "msisdn") == digits and text_at(one, "country"):
                return one
        raise NotCarried("the account at Vonage has no such number")

    async def _lead(self, resource: Mapping[str, Any], places: Mapping[str, str]) -> None:
        """Have a number lead to these places. Vonage would forget what it says besides if that were not said again."""
        names = ("country", "msisdn", "moHttpUrl", "voiceCallbackType", "voiceCallbackValue", "app_id")
        form = {**{name: text_at(resource, name) for name in names}, **places}
        if form["voiceCallbackType"] == "app":  # which is the application itself
            form["voiceCallbackType"] = form["voiceCallbackValue"] = ""
        body = urlencode({name: value for name, value in form.items() if value}).encode()
        await self._ask("POST", f"{self._rest}/number/update", body, FORM)

    async def _take_application(self) -> None:
        """Have the application bring things here. Raises CarrierError, too, where somebody else's address is there."""
        application = await self._ask("GET", self._application_url)
        wanted = self._webhooks()
        if not _differing(application, wanted):
            return
        for product, webhooks in wanted.items():
            for name, webhook in webhooks.items():
                former = text_at(application, "capabilities", product, "webhooks", name, "address")
                # It was ours under another public_url, too.
                if former and not former.endswith(urlsplit(webhook["address"]).path):
                    raise CarrierError(
                        Kind.MISCONFIGURED, f"its application's {name} leads to another address"
                    )
        said = {name: application[name] for name in ("name", "keys", "privacy") if name in application}
        capabilities = {**_object(application, "capabilities")}
        for product, webhooks in wanted.items():
            capabilities[product] = {
                **_object(capabilities, product),
                **_PRODUCTS[product],
                "webhooks": webhooks,
            }
        body = msgspec.json.encode({**said, "capabilities": capabilities})
        await self._ask("PUT", self._application_url, body, "application/json")

    @property
    def _application_url(self) -> str:
        return f"{self._base}/v2/applications/{self._application}"

    def _webhooks(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Where the application is to bring what, by product."""
        messages: dict[str, dict[str, Any]] = {
            "inbound_url": {"address": f"{self._url}/message", "http_method": "POST"},
            "status_url": {"address": f"{self._url}/status", "http_method": "POST"},
        }
        voice: dict[str, dict[str, Any]] = {
            # It waits no longer than that, and tries the fallback then.
            "answer_url": {"address": f"{self._url}/call", "http_method": "POST", "socket_timeout": 5000},
            "fallback_answer_url": {"address": f"{self._url}/call", "http_method": "POST"},
            "event_url": {"address": f"{self._url}/event", "http_method": "POST"},
        }
        return {"messages": messages, "voice": voice} if self._with_messages else {"voice": voice}

    async def check(self, numbers: Sequence[str]) -> list[Checked]:
        """As `Carrier.check`."""
        own = [number for number in numbers if not scheme_of(number)]
        return await check_account(self._name, "Vonage", self._url, self._objection, own, self._strays)

    async def _objection(self) -> Checked | None:
        application = await self._ask("GET", self._application_url)
        public_key = text_at(application, "keys", "public_key")
        ours = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        if "".join(public_key.split()) != "".join(ours.split()):
            return Checked("the private key is not its application's", "correct private_key in the settings")
        if wrong := _differing(application, self._webhooks()):
            said = f"its application does not lead to {self._url} ({', '.join(wrong)})"
            return Checked(said, _TAKE.format(self._name))
        return None

    async def _strays(self, number: str) -> list[str]:
        resource = await self._find(number)
        return [name for name, value in self._wanted.items() if text_at(resource, name) != value]


# What the application says of each product besides.
_PRODUCTS: Mapping[str, Mapping[str, Any]] = {
    "messages": {"version": "v1"},
    "voice": {"signed_callbacks": True},
}
_TAKE = (
    "empty its addresses at Vonage, then put a number into a pool, or `maskline numbers adopt --carrier {}`"
)


def read_number(text: str) -> str:
    """A number as Vonage writes it, as E.164; a short code, and whatever else a sender may be, as it is."""
    return f"+{text}" if text.isdecimal() and len(text) > LONGEST_SHORT_CODE else text


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What stands there, if it is an object; else an empty one."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _differing(
    application: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> list[str]:
    """Which of its webhooks do not lead here."""
    capabilities = _object(application, "capabilities")
    unsigned = _object(capabilities, "voice").get("signed_callbacks") is False
    return (["signed_callbacks"] if unsigned else []) + [
        name
        for product, webhooks in wanted.items()
        for name, webhook in webhooks.items()
        if any(
            text_at(capabilities, product, "webhooks", name, field) != value
            for field, value in webhook.items()
            if isinstance(value, str)
        )
    ]
