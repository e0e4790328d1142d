"""Clients that may call loopback, as `demo` has them, unless a test says otherwise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import uvloop

from maskline.net import HttpClient, anywhere

Make = Callable[..., Awaitable[HttpClient]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on: its sockets and errors are not those of asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def make_client() -> AsyncIterator[Make]:
    """Opens clients with what a test gives them, and closes them after it."""
    clients: list[HttpClient] = []

    async def make(*, may_reach: Callable[[str], bool] = anywhere, **options: Any) -> HttpClient:
        clients.append(await HttpClient(may_reach=may_reach, **options).open())
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(make_client: Make) -> HttpClient:
    return await make_client()
