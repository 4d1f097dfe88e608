"""The command line over a database of the test's own, and a shop that it can connect to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage.secrets import new_key
from tests.app.command_line import CommandLine
from tests.conftest import DatabaseServer

_KEY = new_key()


def command_line(url: str, folder: Path) -> CommandLine:
    """The command line over this database."""
    return CommandLine(
        {
            "PERENNIAL_DATABASE_URL": url,
            "PERENNIAL_DATA_DIR": str(folder),
            "PERENNIAL_SECRET_KEY": _KEY,
            "PERENNIAL_ALLOW_PRIVATE_HOSTS": "1",
        }
    )


def connect_words(sandbox: WooCommerceSandbox) -> tuple[str, ...]:
    """The whole `connect` command for a shop."""
    found = sandbox.connect_answers()
    return (
        "connect",
        "woocommerce",
        "--url",
        found["url"],
        "--key",
        found["key"],
        "--secret",
        found["secret"],
    )


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> CommandLine:
    """Perennial without any store."""
    return command_line(database_url, tmp_path)


@pytest.fixture(scope="session")
async def shop() -> AsyncIterator[WooCommerceSandbox]:
    """A shop of 120 customers, guests and 240 orders, with somebody's birthday today."""
    async with WooCommerceSandbox(
        World(Seed(number=5, customers=120, orders=240, birthday_share=1.0))
    ) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
async def connected_template(
    database_server: DatabaseServer,
    database_template: str,
    shop: WooCommerceSandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[str]:
    """The name of a database in which the shop is connected and read, by the command line itself."""
    name = await database_server.copy(database_template)
    cli = command_line(database_server.url(name), tmp_path_factory.mktemp("data"))
    await cli.said(*connect_words(shop))
    yield name
    await database_server.drop(name)


@pytest.fixture
async def merchant(
    database_server: DatabaseServer, connected_template: str, tmp_path: Path
) -> AsyncIterator[CommandLine]:
    """Perennial with the shop as store 1, its history read, nothing awarded yet."""
    name = await database_server.copy(connected_template)
    yield command_line(database_server.url(name), tmp_path)
    await database_server.drop(name)
