"""The operator's own apps at the platforms: looked at, and set up, with the settings alone and without a database."""

from __future__ import annotations

from collections.abc import Sequence

from app.settings import Settings
from app.wiring import load_connectors, open_session
from connectors.apps import AppLook
from connectors.base import Secret


def with_apps(settings: Settings) -> list[str]:
    """Platforms at which the operator has an app that there is something to look at of."""
    return [
        platform
        for platform, connector in load_connectors().items()
        if connector.operators_app is not None and settings.apps.get(platform)
    ]


async def look_at(settings: Settings, platforms: Sequence[str], *, make: bool = False) -> list[AppLook]:
    """How the apps at these platforms, each of `with_apps`, stand; `make` puts right what can be."""
    found = []
    # Where a platform's server is near us, the operator has said so.
    async with open_session(allow_private_hosts=True) as session:
        for platform in platforms:
            app = load_connectors()[platform].operators_app
            assert app is not None, "asked for platforms that have one"
            given = {
                name: Secret(value.get_secret_value()) for name, value in settings.apps[platform].items()
            }
            found.append(await app.look(given, settings.public_url, session, make=make))
    return found
