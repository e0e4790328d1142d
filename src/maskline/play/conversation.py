"""People who write to each other through proxy numbers, and a look at what the handset of each has shown.

Every step is looked for at the handsets; one that is not seen in time is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from maskline.play.client import PATIENCE_S, Api, StepFailed, await_seen

Tell = Callable[[str], None]

GREETING = "Your driver Bob is two minutes away. Just reply to reach him."
QUESTION = "Hi Bob, I'm at the side door. Can you see me?"
ANSWER = "Yes! Blue car, right behind you."


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message as one handset shows it: `mine` if it was written there, `other` is the number it shows."""

    mine: bool
    other: str
    body: str


@dataclass(slots=True)
class Handset:
    """A person's phone, and the only number that it may ever show."""

    name: str
    number: str
    proxy: str = ""
    participant: str = ""
    known: set[str] = field(default_factory=set)

    def title(self) -> str:
        return f"{self.name}, {self.number}"


@dataclass(slots=True)
class Conversation:
    """`rows` is what must have been seen: what the handset of each of the people shows, in the order in which it
    happened.
    """

    api: Api
    people: tuple[Handset, ...]
    tell: Tell
    patience_s: float = PATIENCE_S
    session_path: str = ""
    rows: list[tuple[Bubble | None, ...]] = field(default_factory=list)

    def begin(self, service_path: str, name: str, mode: str, pool: Collection[str]) -> None:
        """A Session with all of them, each behind a number of the pool."""
        session = self.api.make("a Session", f"{service_path}/Sessions", {"UniqueName": name, "Mode": mode})
        self.session_path = f"{service_path}/Sessions/{session['sid']}"
        for person in self.people:
            form = {"Identifier": person.number, "FriendlyName": person.name}
            made = self.api.make(f"{person.name} in the Session", f"{self.session_path}/Participants", form)
            person.participant, person.proxy = made["sid"], made["proxy_identifier"]
            if person.proxy not in pool:
                raise StepFailed(f"{person.name} in the Session: the proxy number is none of the pool")
        self.tell(f"A Session with {' and '.join(person.title() for person in self.people)}")

    def send(self, reader: Handset, body: str) -> Any:
        """A message by the API, which is answered; whether it arrives is not waited for."""
        path = f"{self.session_path}/Participants/{reader.participant}/MessageInteractions"
        return self.api.make("a message by the API", path, {"Body": body})

    def text(self, writer: Handset, body: str) -> None:
        """A handset texts its proxy number; whether that arrives is not waited for."""
        self.api.make(
            f"{writer.name} texts {writer.proxy}",
            "/sandbox/messages",
            {"From": writer.number, "To": writer.proxy, "Body": body},
        )

    def arrives(
        self, body: str, reader: Handset, writer: Handset | None = None, what: str = "A message by the API"
    ) -> None:
        """Wait until it is seen, from the reader's own proxy number. Without a writer it is said `what` it is."""
        self._await(reader, Bubble(False, reader.proxy, body))
        self.note({writer.name: True, reader.name: False} if writer else {reader.name: False}, body)
        if writer is not None:
            what = f"{writer.name}'s text"
        self.tell(f"{what} has reached {reader.name}")

    def note(self, sides: dict[str, bool], body: str) -> None:
        """Put down a row: whose handset shows it, and whether it was written there."""
        self.rows.append(
            tuple(
                Bubble(sides[person.name], person.proxy, body) if person.name in sides else None
                for person in self.people
            )
        )

    def hold(self, after: Tell = lambda _: None) -> None:
        """A greeting by the API, a question and an answer. `after` is called with each, once it was seen."""
        left, right = self.people
        self.send(left, GREETING)
        self.arrives(GREETING, left)
        after(GREETING)
        for writer, reader, body in ((left, right, QUESTION), (right, left, ANSWER)):
            self.text(writer, body)
            self.arrives(body, reader, writer)
            after(body)

    def settle(self) -> None:
        """Look whether each handset has shown what it should: its proxy number only, each message once, in order."""
        for i, person in enumerate(self.people):
            shown = self.shown_by(person)
            if any(bubble.other != person.proxy for bubble in shown):
                raise StepFailed(f"{person.name}'s handset has shown another number than {person.proxy}")
            if shown != [row[i] for row in self.rows if row[i]]:
                raise StepFailed(f"{person.name}'s handset does not show each message once, in order")
        self.tell("Each handset has shown its proxy number only, and each message once")

    def shown_by(self, person: Handset) -> list[Bubble]:
        """What this handset shows of this conversation, in order."""
        bubbles: list[Bubble] = []
        for message in reversed(self._messages(person)):
            mine = message["direction"] == "from_handset"
            if message["sid"] in person.known or not (mine or message["status"] == "delivered"):
                continue
            bubble = Bubble(mine, message["to" if mine else "from"], message["body"])
            bubbles += [bubble] * message["handovers"]
        return bubbles

    def forget(self) -> None:
        """Leave out what the handsets show already, from earlier times on the same data."""
        for person in self.people:
            person.known = {message["sid"] for message in self._messages(person)}

    def _messages(self, person: Handset) -> list[Any]:
        step = f"looking at {person.name}'s handset"
        found = self.api.get(step, "/sandbox/messages", Handset=person.number, PageSize="100")
        return list(found["messages"])

    def _await(self, person: Handset, wanted: Bubble) -> None:
        await_seen(
            f'"{wanted.body}" from {wanted.other} was not seen on {person.name}\'s handset',
            lambda: wanted in self.shown_by(person),
            self.patience_s,
        )
