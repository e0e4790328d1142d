"""One masked conversation over SMPP: a server, an SMSC from npm that it is bound to, and two handsets behind that.

    make demo-smpp

The handsets show what the SMSC was handed, and what they write it brings: nothing of maskline's stands in between.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from maskline.demo import ALICE, BOB
from maskline.play.client import Api, StepFailed
from maskline.play.conversation import Bubble, Conversation, Handset
from maskline.play.picture import Style, draw
from tests.support.node_smsc import CLIENT, NodeSmsc, add_number, carriers_file
from tests.support.server import ACCOUNT_SID, AUTH_TOKEN, RealServer

POOL = ("+14155550100", "+14155550101")


@dataclass(slots=True)
class OverSmpp(Conversation):
    """A conversation whose handsets are behind an SMSC."""

    smsc: NodeSmsc = field(kw_only=True)
    shown: dict[str, list[Bubble]] = field(default_factory=dict)

    def text(self, writer: Handset, body: str) -> None:
        self._shown(writer.number).append(Bubble(True, writer.proxy, body))
        if self.smsc.answer_to(self.smsc.deliver(writer.number, writer.proxy, short_message=body)) != 0:
            raise StepFailed(f"{writer.name} texts {writer.proxy}: the server did not take it from the SMSC")

    def shown_by(self, person: Handset) -> list[Bubble]:
        while (handed := self.smsc.take("submit")) is not None:
            self._shown(f"+{handed['to']}").append(Bubble(False, f"+{handed['from']}", handed["text"]))
        return list(self._shown(person.number))

    def _shown(self, number: str) -> list[Bubble]:
        return self.shown.setdefault(number, [])


def play(server: RealServer, smsc: NodeSmsc, style: Style) -> None:
    """Raises StepFailed."""
    for number in POOL:
        add_number(server, number)
    api = Api(server.url, ACCOUNT_SID, AUTH_TOKEN)
    people = (Handset(*ALICE), Handset(*BOB))
    talk = OverSmpp(api, people, style.tell, smsc=smsc)
    service = api.make("a Service", "/v1/Services", {"UniqueName": "over SMPP"})
    path = f"/v1/Services/{service['sid']}"
    for number in POOL:
        api.make("a pool of two numbers", f"{path}/PhoneNumbers", {"PhoneNumber": number})
    style.tell(f"A Service with the numbers {POOL[0]} and {POOL[1]}, which the operator carries")
    talk.begin(path, "ride 1", "message-only", POOL)
    talk.hold()
    talk.settle()
    print(f"\n{draw(talk.people, talk.rows, style)}\n")


def main() -> int:
    if not CLIENT.is_installed:
        print("The SMSC is not installed: make clients", file=sys.stderr)
        return 1
    style = Style.of(sys.stdout.isatty(), sys.stdout.encoding)
    with tempfile.TemporaryDirectory(prefix="maskline-smpp-") as directory, NodeSmsc() as smsc:
        file = carriers_file(Path(directory), smsc.port)
        print(
            f"An SMSC listens on port {smsc.port}; this is what the server is told of it:\n\n{file.read_text()}"
        )
        server = RealServer(
            Path(directory) / "data", environment={"MASKLINE_CARRIERS_FILE": str(file)}
        ).start()
        try:
            style.tell(f"The server has bound to it ({smsc.wait_for('bound')})")
            play(server, smsc, style)
        except StepFailed as failed:
            print(f"Failed: {failed}", file=sys.stderr)
            return 1
        finally:
            server.stop()
    print("Alice and Bob have talked over SMPP, and neither has seen the other's number.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
