"""What a scene is played on: a Service of its own with fresh numbers, people with handsets, and a customer's server.

The handsets are the sandbox's; the three URLs of the Service, and the one for opt-outs, lead to a customer's server in
this process. A scene asks here for what is to be seen.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from maskline.domain.area_codes import AREA_CODES
from maskline.domain.phone import parse_phone
from maskline.domain.twiml import Reject, Verb, render_twiml
from maskline.play.client import PATIENCE_S, Api, StepFailed, await_seen
from maskline.play.conversation import Conversation, Handset, Tell
from maskline.play.customer import CALLBACK, INTERCEPT, OPTOUT, OUT_OF_SESSION, Call, Customer, Reply

POOL_SIZE = 2
TRIES = 10
"""So many fresh numbers are tried: one of them may be taken."""
RECEIPT_MS = 300
"""How long a handset's receipt takes: longer than it takes to tell the status before it."""
IN_ORDER = "queued sent failed delivered initiated ringing in-progress completed".split()
"""How the statuses of messages, and those of calls, follow each other."""

_AREAS = [code for code, (country, *_) in AREA_CODES.items() if country == "US"]
_REMEDY = (
    "the server calls no private addresses, and the customer's server of this command has one;"
    " start it with MASKLINE_ALLOW_PRIVATE_WEBHOOKS=true"
)


def fresh_number() -> str:
    """A random number that is nobody's phone: each area code of the United States keeps a hundred for fiction."""
    while True:
        number = f"+1{secrets.choice(_AREAS)}55501{secrets.randbelow(100):02d}"
        if parse_phone(number) is not None:
            return number


@dataclass(slots=True)
class Stage:
    """A Service and a customer's server for one scene. `talk` is what its people do."""

    api: Api
    customer: Customer
    tell: Tell
    patience_s: float = PATIENCE_S
    path: str = ""
    pool: dict[str, str] = field(default_factory=dict)
    talk: Conversation = field(init=False)

    def __post_init__(self) -> None:
        self.talk = Conversation(self.api, (), self.tell, self.patience_s)

    # Setting it up and away

    def build(self) -> None:
        """The Service, its numbers and its URLs. Raises StepFailed, also where the server cannot call the customer."""
        urls = {name: self.customer.url(name) for name in (CALLBACK, INTERCEPT, OUT_OF_SESSION)}
        name = f"maskline-play-{secrets.token_hex(6)}"
        service = self.api.make("a Service", "/v1/Services", {"UniqueName": name, **urls})
        self.path = f"/v1/Services/{service['sid']}"
        self.api.make("its settings", f"{self.path}/Settings", {OPTOUT: self.customer.url(OPTOUT)})
        for _ in range(POOL_SIZE):
            self._add_number()
        self._knock()
        self.tell(f"A Service with the numbers {' and '.join(self.pool)}")

    def _add_number(self) -> None:
        """One that nobody had so far."""
        said = None
        for _ in range(TRIES):
            number = fresh_number()
            status, said = self.api.request("POST", self._numbers(), {"PhoneNumber": number})
            if status == 201:
                self.pool[number] = said["sid"]
                self.api.make("a number in the pool", f"{self.path}/PhoneNumbers", {"Sid": said["sid"]})
                return
        raise StepFailed(f"a new number: the server says: {said and said.get('message')}")

    def _numbers(self, sid: str = "") -> str:
        return f"/2010-04-01/Accounts/{self.api.account_sid}/IncomingPhoneNumbers{sid and f'/{sid}'}.json"

    def _knock(self) -> None:
        """Look whether the server calls the customer's: a stranger's call is asked about at once, or not at all."""
        self.customer.replies[OUT_OF_SESSION] = twiml(Reject())
        form = {"From": fresh_number(), "To": next(iter(self.pool))}
        self.api.make("a call, to see that the customer's server can be reached", "/sandbox/calls", form)
        if not self.customer.calls:
            why = ", ".join(event["alert_text"] for event in self.events())
            raise StepFailed(
                _REMEDY if "refused address" in why else f"the customer's server was not called: {why}"
            )
        self._check_signatures()
        self.customer.forget()

    def clear(self) -> None:
        """Take the Service and its numbers away."""
        status = 204
        if self.path:
            for session in self.api.get("its Sessions", f"{self.path}/Sessions")["sessions"]:
                if session["status"] != "closed":  # the server may be set to guard what has active ones
                    self.api.make(
                        "closing a Session", f"{self.path}/Sessions/{session['sid']}", {"Status": "closed"}
                    )
            status, _ = self.api.request("DELETE", self.path)
        statuses = [
            status,
            *(self.api.request("DELETE", self._numbers(sid))[0] for sid in self.pool.values()),
        ]
        if set(statuses) != {204}:
            raise StepFailed(
                f"the Service and its numbers could not all be deleted: the server answered {statuses}"
            )

    def leave(self) -> None:
        """Keep them, but lead no URL to a server that ends now."""
        urls = dict.fromkeys((CALLBACK, INTERCEPT, OUT_OF_SESSION), "")
        service = self.api.make("the URLs taken out", self.path, urls)
        self.api.make("the URLs taken out", f"{self.path}/Settings", {OPTOUT: ""})
        self.tell(f"The Service {service['sid']} is kept, without its URLs")

    # What scenes are made of

    def cast(self, *names: str) -> tuple[Handset, ...]:
        """People with handsets, who will talk."""
        numbers: set[str] = set()
        while len(numbers) < len(names):
            numbers.add(fresh_number())
        people = tuple(Handset(*each) for each in zip(names, sorted(numbers), strict=True))
        for person in people:
            script = {"To": person.number, "Outcome": "deliver", "DelayMs": str(RECEIPT_MS)}
            self.api.make(f"{person.name}'s handset", "/sandbox/behaviour", script)
        self.talk = Conversation(self.api, people, self.tell, self.patience_s)
        self.talk.forget()
        return people

    def begin(self, mode: str = "message-only") -> tuple[Handset, ...]:
        """Alice and Bob in a Session."""
        people = self.cast("Alice", "Bob")
        self.talk.begin(self.path, "ride 1", mode, self.pool)
        return people

    def told(self, body: str | None, last: str = "delivered") -> None:
        """Wait until the CallbackUrl knows the last status of the message with this text, or of the call."""

        def statuses() -> list[str]:
            return [
                call.form["outboundResourceStatus"]
                for call in self.calls(CALLBACK)
                if json.loads(call.form["interactionData"] or "{}").get("body") == body
            ]

        what = "the call" if body is None else f'"{body}"'
        self._wait(f'the CallbackUrl was not told that {what} was "{last}"', lambda: last in statuses())
        told = statuses()
        if told != [status for status in IN_ORDER if status in told]:
            raise StepFailed(f"the CallbackUrl was told of {what} {told}: not each status once, in order")
        self.tell(f"The CallbackUrl was told {', '.join(told)}")

    def asked(self, name: str, **fields: str) -> Mapping[str, str]:
        """Wait until this URL has been called with these fields; the form."""

        def found() -> list[Call]:
            return [call for call in self.calls(name) if fields.items() <= call.form.items()]

        self._wait(f"the {name} was not called", lambda: bool(found()))
        self.tell(f"The {name} was called and answered {found()[-1].reply}")
        return found()[-1].form

    def calls(self, name: str) -> list[Call]:
        """What came to this URL, with a good signature."""
        return [call for call in self.customer.calls if call.url == name and call.genuine]

    def events(self) -> list[Any]:
        """Those of the Service, the oldest first."""
        query = {"ServiceSid": self.path.rpartition("/")[2], "PageSize": "100"}
        return list(reversed(self.api.get("the events", "/v1/Alerts", **query)["alerts"]))

    def finish(self, *codes: str) -> None:
        """Look whether these events were told and no others, and everything was signed."""

        def told() -> list[str]:
            return sorted(event["error_code"] for event in self.events())

        wanted = sorted(codes)
        await_seen(f"the events told were not {wanted}", lambda: told() == wanted, self.patience_s)
        self._check_signatures()
        self.tell(f"The events: {', '.join(codes) or 'none'}; every signature is good")

    def interactions(self) -> list[Any]:
        """Those of the Session, the oldest first."""
        found = self.api.get("the Interactions", f"{self.talk.session_path}/Interactions")
        return list(reversed(found["interactions"]))

    def must(self, seen: bool, step: str) -> None:
        """Tell of a step that is seen now or never. Raises StepFailed."""
        if not seen:
            raise StepFailed(f"not so: {step}")
        self.tell(step)

    def _wait(self, step: str, seen: Callable[[], bool]) -> None:
        if not self.customer.wait(seen, self.patience_s):
            self._check_signatures()
            raise StepFailed(f"{step} within {self.patience_s:g} seconds")

    def _check_signatures(self) -> None:
        if forged := [call.url for call in self.customer.calls if not call.genuine]:
            raise StepFailed(f"what came to the {forged[0]} is not signed with this account's token")


@contextmanager
def staged(
    api: Api, customer: Customer, tell: Tell, *, keep: bool = False, patience_s: float = PATIENCE_S
) -> Iterator[Stage]:
    """A Service for one scene, taken away afterwards unless it is to be kept."""
    customer.forget()
    customer.replies.clear()
    stage = Stage(api, customer, tell, patience_s)
    try:
        stage.build()
        customer.replies.clear()
        yield stage
        if keep:
            stage.leave()
        else:
            stage.clear()
    except BaseException:
        if not keep:
            with suppress(StepFailed):  # what went wrong before matters more
                stage.clear()
        raise


def twiml(*verbs: Verb) -> Reply:
    """An answer in TwiML."""
    # The declaration says nothing that is not so without it, and what is shown is easier to read.
    return Reply(type="text/xml", body=render_twiml(verbs).decode().partition("?>")[2])
