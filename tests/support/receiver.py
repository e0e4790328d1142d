"""A customer's server on loopback: takes what is posted to it and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass
class Post:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class Receiver:
    """`answers` are the statuses of the next requests (200 once they are used up), or the type and the text of what is
    said with 200; None drops the connection.

    While `stalled` is not set nobody is answered.
    """

    answers: list[int | tuple[str, str] | None] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def __post_init__(self) -> None:
        self.stalled.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (one.partition(": ") for one in lines[1:-2])
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                form = dict(parse_qsl(body.decode(), keep_blank_values=True))
                self.posts.append(Post(lines[0].split(" ")[1], headers, form))
                await self.stalled.wait()
                answer = self.answers.pop(0) if self.answers else 200
                if answer is None:
                    return
                status, (kind, text) = (answer, ("", "")) if isinstance(answer, int) else (200, answer)
                content = text.encode()
                head = (
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
                )
                writer.write(head.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def statuses(self, side: str = "outbound") -> list[str]:
        """The statuses that were told, in the order in which they came."""
        return [post.form[f"{side}ResourceStatus"] for post in self.posts]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver while the block lasts."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/calls?customer=7"
    async with server:
        yield receiver
        receiver.stalled.set()
