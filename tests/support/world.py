"""Ready-made situations: a Service with a pool, a Session with two people."""

from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.support.server import Api

_numbers = count(1)


def fresh_number(area: str = "415") -> str:
    """A valid number that no other test has."""
    i = next(_numbers)
    return f"+1{area}{2 + i // 10_000 % 8}{i // 10_000 // 8 % 10}{1 + i // 640_000 % 9}{i % 10_000:04d}"


@dataclass
class Pair:
    """A Session with two participants, as served."""

    api: Api
    service: Any
    session: Any
    first: Any
    second: Any

    def messages_path(self, participant: Any) -> str:
        return f"{participant['url'][len(self.api.url) :]}/MessageInteractions"

    def send(self, participant: Any, body: str, **kwargs: Any) -> Any:
        return self.api.make(self.messages_path(participant), {"Body": body}, **kwargs)


def make_service(api: Api, numbers: int = 1, **form: Any) -> Any:
    """A Service with so many numbers in its pool."""
    service = api.make("/v1/Services", {"UniqueName": f"service {next(_numbers)}", **form})
    for _ in range(numbers):
        api.make(f"/v1/Services/{service['sid']}/PhoneNumbers", {"PhoneNumber": fresh_number()})
    return service


def make_pair(api: Api, service: Any | None = None, **form: Any) -> Pair:
    """A Session with two new people in it."""
    service = service or make_service(api)
    path = f"/v1/Services/{service['sid']}/Sessions"
    session = api.make(path, form)
    people = f"{path}/{session['sid']}/Participants"
    first = api.make(people, {"Identifier": fresh_number("212")})
    second = api.make(people, {"Identifier": fresh_number("212")})
    return Pair(api, service, session, first, second)
