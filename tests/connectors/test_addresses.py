"""Where requests may go on a merchant's word."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from app.wiring import open_session
from connectors.addresses import guarded_connector, is_private_refusal, is_public, refuse_private
from rewards.errors import InvalidInputError

OURS, PRIVATE = "127.0.0.1", "127.0.0.2"  # in these tests the first stands for an address of the internet


class Names(AbstractResolver):
    """A name server whose owner changes the answer each time; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Listener:
    """A server on two addresses of this machine; `seen` are the addresses it was reached at."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.seen.append(request.transport.get_extra_info("sockname")[0])
        if "to" in request.query:
            raise web.HTTPFound(request.query["to"])
        return web.Response(text="in", headers={"Connection": "close"})


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    app = web.Application()
    app.router.add_get("/", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, OURS, 0).start()
    found.port = runner.addresses[0][1]
    await web.TCPSite(runner, PRIVATE, found.port).start()
    yield found
    await runner.cleanup()


def session_over(names: Names) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=guarded_connector(lambda text: text == OURS, resolver=names))


async def text_of(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


async def test_a_name_that_turns_to_a_private_address_between_two_calls_is_not_followed(
    listener: Listener,
) -> None:
    names = Names([OURS], [PRIVATE])
    url = f"http://shop.example:{listener.port}/"
    async with session_over(names) as session:
        assert await text_of(session, url) == "in"
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector.clear_dns_cache()  # as after its ten seconds
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await text_of(session, url)
    assert is_private_refusal(caught.value)
    assert names.asked == 2
    assert listener.seen == [OURS]


async def test_of_several_answers_only_the_allowed_are_tried(listener: Listener) -> None:
    async with session_over(Names([PRIVATE, OURS])) as session:
        assert await text_of(session, f"http://shop.example:{listener.port}/") == "in"
    assert listener.seen == [OURS]


async def test_a_redirect_to_a_private_address_goes_nowhere(listener: Listener) -> None:
    elsewhere = f"http://{PRIVATE}:{listener.port}/"
    async with session_over(Names([OURS])) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await text_of(session, f"http://shop.example:{listener.port}/?to={elsewhere}")
    assert is_private_refusal(caught.value)
    assert listener.seen == [OURS]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_apps_session_talks_to_no_address_of_this_machine(listener: Listener, host: str) -> None:
    async with open_session(allow_private_hosts=False) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await text_of(session, f"http://{host}:{listener.port}/")
    assert is_private_refusal(caught.value)
    assert host not in str(caught.value.os_error)
    assert not listener.seen


async def test_the_operator_can_allow_them(listener: Listener) -> None:
    async with open_session(allow_private_hosts=True) as session:
        assert await text_of(session, f"http://127.0.0.1:{listener.port}/") == "in"


@pytest.mark.parametrize(
    "text",
    "127.0.0.1 10.0.0.1 172.16.9.9 192.168.1.1 100.64.0.1 0.0.0.0 169.254.169.254 224.0.0.1 255.255.255.255 "
    "::1 :: ::127.0.0.1 ::ffff:10.0.0.1 fe80::1%eth0 fc00::1 fec0::1 ff02::1 2002:7f00:1:: 64:ff9b::7f00:1 "
    "2001:db8::1 name".split(),
)
def test_addresses_that_mean_something_only_near_us_are_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize("address", ["http://localhost", "https://10.1.2.3", "https://[::1]:8443"])
async def test_a_private_address_is_told_to_whoever_typed_it(address: str) -> None:
    with pytest.raises(InvalidInputError, match="PERENNIAL_ALLOW_PRIVATE_HOSTS"):
        await refuse_private(address)


async def test_a_name_that_nobody_knows_is_told_to_whoever_typed_it() -> None:
    with pytest.raises(InvalidInputError, match="slip of the pen"):
        await refuse_private("https://nowhere.invalid")
