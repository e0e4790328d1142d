"""The scenes: each plays on a Service of its own, with fresh numbers, and looks for everything that is to be seen.

The people's handsets are the sandbox's; the three URLs of the Service, and the one for opt-outs, lead to a customer's
server in this process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from maskline.domain.area_codes import AREA_CODES
from maskline.domain.phone import parse_phone
from maskline.domain.twiml import Message, Reject, Verb, render_twiml
from maskline.play.client import PATIENCE_S, Api, StepFailed, await_seen
from maskline.play.conversation import Conversation, Handset, Tell
from maskline.play.customer import CALLBACK, INTERCEPT, OPTOUT, OUT_OF_SESSION, Call, Customer, Reply

POOL_SIZE = 2
TRIES = 10
"""So many fresh numbers are tried: one of them may be taken."""
RECEIPT_MS = 300
"""How long a handset's receipt takes: longer than it takes to tell the status before it."""
TALK_S = 42
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
        self.customer.replies[OUT_OF_SESSION] = _twiml(Reject())
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


def _twiml(*verbs: Verb) -> Reply:
    # The declaration says nothing that is not so without it, and what is shown is easier to read.
    return Reply(type="text/xml", body=render_twiml(verbs).decode().partition("?>")[2])


# The scenes


def play_conversation(stage: Stage) -> None:
    """Two people talk through proxy numbers, and the CallbackUrl is told."""
    stage.begin()
    stage.talk.hold(stage.told)
    stage.talk.settle()
    stage.finish()


def play_blocked(stage: Stage) -> None:
    """The InterceptCallbackUrl blocks a message; the next one goes on."""
    alice, bob = stage.begin()
    first, second = "Call me at my own number, it is 555 0199.", "Never mind. I am at the side door."
    stage.customer.replies[INTERCEPT] = Reply(403)
    stage.talk.text(alice, first)
    stage.talk.note({"Alice": True}, first)
    blocked = stage.asked(INTERCEPT, inboundParticipantSid=alice.participant)["interactionSid"]
    await_seen("no event told of the blocked message", lambda: bool(stage.events()), stage.patience_s)
    stage.customer.replies[INTERCEPT] = Reply(200)
    stage.talk.text(alice, second)
    stage.talk.arrives(second, bob, alice)
    stage.told(second)
    stage.talk.settle()
    (one, _) = stage.interactions()
    stage.must(
        one["sid"] == blocked and one["outbound_resource_sid"] is None and len(stage.calls(INTERCEPT)) == 2,
        "The blocked message is an Interaction without an outbound leg",
    )
    told = {call.form["interactionSid"] for call in stage.calls(CALLBACK)}
    stage.must(blocked not in told, "The CallbackUrl was not told of it")
    stage.finish("80909")


def play_stranger_twiml(stage: Stage) -> None:
    """A stranger's message is answered with TwiML."""
    (carol,) = stage.cast("Carol")
    carol.proxy = next(iter(stage.pool))
    question, answer = "Hello, is my order ready?", "We know no order of yours. Please call the shop."
    stage.customer.replies[OUT_OF_SESSION] = _twiml(Message(answer))
    stage.talk.text(carol, question)
    stage.talk.note({"Carol": True}, question)
    stage.asked(OUT_OF_SESSION, From=carol.number, To=carol.proxy, Body=question)
    stage.talk.arrives(answer, carol, what="The answer")
    stage.talk.settle()
    stage.must(not stage.calls(CALLBACK), "It is no Interaction, and the CallbackUrl was not told")
    stage.finish()


def play_stranger_json(stage: Stage) -> None:
    """A stranger's message makes a Session by JSON, which takes it."""
    carol, bob = stage.cast("Carol", "Bob")
    carol.proxy = next(iter(stage.pool))
    question, answer = "Hello, is my order ready?", "It is. Come by until eight."
    wanted = {
        "participantIdentifier": bob.number,
        "uniqueName": "order 17",
        "mode": "message-only",
        "ttl": 3600,
    }
    stage.customer.replies[OUT_OF_SESSION] = Reply(body=json.dumps(wanted), type="application/json")
    stage.talk.text(carol, question)
    stage.asked(OUT_OF_SESSION, From=carol.number, To=carol.proxy, Body=question)

    def find() -> list[Any]:
        return list(stage.api.get("the Sessions", f"{stage.path}/Sessions")["sessions"])

    await_seen("no Session was made", lambda: bool(find()), stage.patience_s)
    stage.talk.session_path = f"{stage.path}/Sessions/{find()[0]['sid']}"
    people = stage.api.get("the people", f"{stage.talk.session_path}/Participants")["participants"]
    proxies = {person["identifier"]: person["proxy_identifier"] for person in people}
    stage.must(
        find()[0]["unique_name"] == wanted["uniqueName"] and proxies.get(carol.number) == carol.proxy,
        "A Session was made, with Carol on the number that she wrote to",
    )
    bob.proxy = proxies.get(bob.number, "")
    for body, reader, writer in ((question, bob, carol), (answer, carol, bob)):
        if writer is bob:
            stage.talk.text(writer, body)
        stage.talk.arrives(body, reader, writer)
        stage.told(body)
    stage.talk.settle()
    stage.must(len(stage.calls(OUT_OF_SESSION)) == 1, "The OutOfSessionCallbackUrl was called once only")
    stage.finish()


def play_opt_out(stage: Stage) -> None:
    """Somebody texts STOP, gets nothing more, and opts in again."""
    alice, bob = stage.begin()
    stop, start = "STOP", "START"
    unwanted, welcome = "Your driver is one minute away.", "Good to have you back."
    stage.talk.text(bob, stop)
    stage.talk.note({"Bob": True}, stop)
    sid = stage.asked(OPTOUT, optOutType="opt-out")["optOutSid"]
    optout = stage.api.get("the opt-out", f"{stage.path}/OptOuts/{sid}")
    stage.must(optout["identifier"] == bob.number, "Bob is on the list of those who have opted out")
    leg = stage.talk.send(bob, unwanted)["outbound_resource_sid"]
    stage.told(unwanted, "failed")
    path = f"/2010-04-01/Accounts/{stage.api.account_sid}/Messages/{leg}.json"
    code = stage.api.get("the message", path)["error_code"]
    stage.must(code == 21610, "A message to Bob has failed, with 21610")
    stage.talk.text(bob, start)
    stage.talk.arrives(start, alice, bob)
    stage.told(start)
    stage.asked(OPTOUT, optOutType="opt-in", optOutSid=sid)
    stage.talk.send(bob, welcome)
    stage.talk.arrives(welcome, bob)
    stage.told(welcome)
    stage.talk.settle()
    stage.finish("80901", "21610")


def play_erasure(stage: Stage) -> None:
    """Somebody who has talked is erased, and nothing finds them any more."""
    alice, bob = stage.begin()
    question, answer, again = "Bob, where do I find you?", "12 Elm Street, ring twice.", "Bob, are you there?"
    for body, reader, writer in ((question, bob, alice), (answer, alice, bob)):
        stage.talk.text(writer, body)
        stage.talk.arrives(body, reader, writer)
        stage.told(body)
    stage.talk.settle()
    person = f"{stage.path}/People/{quote(bob.number, safe='')}"
    held = stage.api.get("what is held of Bob", person)
    stage.must(held["participants"] == 1, "Bob is held: one Participant, with his number")
    status, _ = stage.api.request("DELETE", person)
    stage.must(status in (202, 204), "Bob is to be erased")
    await_seen(
        "Bob was not wholly erased", lambda: stage.api.request("GET", person)[0] == 404, stage.patience_s
    )
    stage.tell("Nothing is held of Bob any more")
    session = stage.api.get("the Session", stage.talk.session_path)
    stage.must(session["status"] == "closed", "His Session is closed")
    participant = f"{stage.talk.session_path}/Participants/{bob.participant}"
    erased = stage.api.get("Bob's Participant", participant)
    stage.must(
        erased["identifier"] == "erased" and not erased["friendly_name"],
        "His Participant has no number and no name",
    )
    bodies = {one["data"] for one in stage.interactions()}
    stage.must(
        bodies == {'{"body":""}'}, "What he wrote and was written is blanked; the Interactions are there"
    )
    stage.must(not stage.talk.shown_by(bob), "His handset shows nothing")
    stage.talk.text(alice, again)
    stage.talk.note({"Alice": True}, again)
    form = stage.asked(OUT_OF_SESSION, From=alice.number, Body=again)
    stage.must(
        bob.number not in str(form), "Alice is a stranger now, and the OutOfSessionCallbackUrl is told no Bob"
    )
    stage.finish()


def play_call(stage: Stage) -> None:
    """One calls the other, and the CallbackUrl is told from the first ring to the end."""
    alice, bob = stage.begin("voice-and-message")
    form = {"From": alice.number, "To": alice.proxy, "Duration": str(TALK_S)}
    call = stage.api.make("Alice calls her proxy number", "/sandbox/calls", form)
    stage.asked(INTERCEPT, interactionType="Voice", inboundParticipantSid=alice.participant)
    legs = [(leg["from"], leg["to"], leg["status"], leg["duration"]) for leg in call["legs"]]
    stage.must(
        legs == [(bob.proxy, bob.number, "completed", TALK_S)], f"Bob's phone rang and showed {bob.proxy}"
    )
    stage.talk.note({"Alice": True, "Bob": False}, f"(a call of {TALK_S} seconds)")
    stage.told(None, "completed")
    data = [one["data"] for one in stage.interactions()]
    stage.must(
        data == [f'{{"duration":"{TALK_S}"}}'], f"The Interaction says that they talked for {TALK_S} seconds"
    )
    stage.finish()


SCENES: dict[str, Callable[[Stage], None]] = {
    "conversation": play_conversation,
    "blocked": play_blocked,
    "stranger-twiml": play_stranger_twiml,
    "stranger-json": play_stranger_json,
    "opt-out": play_opt_out,
    "erasure": play_erasure,
    "call": play_call,
}
