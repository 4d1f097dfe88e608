"""The operator's own app on a platform: how it stands, and what has to be set once it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from connectors.base import Secret


@dataclass(frozen=True, slots=True)
class AppFinding:
    """How one part of the operator's own app on a platform stands; `detail` says what to do and holds no secret."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AppLook:
    """What a look at the operator's app came to. `to_set`: settings that the operator has to make now, once told."""

    findings: Sequence[AppFinding]
    to_set: Mapping[str, Secret] = field(default_factory=dict)


class OperatorsApp(Protocol):
    """The operator's own app on a platform, where there is something to look at or to make at the platform."""

    async def look(
        self, app: Mapping[str, Secret], public_url: str | None, session: aiohttp.ClientSession, *, make: bool
    ) -> AppLook:
        """How the app of these settings stands; `make` puts right what can be. Never raises PlatformError."""
        ...
