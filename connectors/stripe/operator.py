"""The operator's Stripe App as it stands at Stripe: its Connect endpoint, looked at and made with the operator's own key.

All installations' events come to this one endpoint, so one that is missing, off or of another version is everybody's
trouble. Stripe tells the signing secret only when the endpoint is made: then the operator has to set it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import aiohttp

from connectors.apps import AppFinding, AppLook
from connectors.base import Secret, StoreAccess, StoreOptions
from connectors.stripe.client import API_VERSION, Client, mode_of
from connectors.stripe.destinations import Destinations
from connectors.stripe.endpoints import Endpoints
from connectors.stripe.mapping import WebhookEndpoint
from connectors.stripe.tokens import API_KEY, app_key
from connectors.stripe.webhooks import TOPICS
from rewards.errors import PlatformError

_SETTING = "PERENNIAL_APPS__STRIPE__"
_NEEDED = ("client_id", "secret_key", "webhook_secret")
_CONNECT = {"perennial": "connect"}  # in the metadata of the endpoint that we make
_SET_UP = "`perennial apps setup stripe` does it."


class StripeApp:
    """The app in both modes."""

    async def look(
        self, app: Mapping[str, Secret], public_url: str | None, session: aiohttp.ClientSession, *, make: bool
    ) -> AppLook:
        """See `connectors.base.OperatorsApp`. Modes of which nothing is set are left alone."""
        findings: list[AppFinding] = []
        to_set: dict[str, Secret] = {}
        for mode, before in (("live", ""), ("test", "test_")):
            if any(app.get(before + name) for name in (*_NEEDED, "authorize_url")):
                found = _Mode(app, mode, before, public_url, session)
                findings += await found.look(make=make)
                to_set |= found.to_set
        return AppLook(findings, to_set)


class _Mode:
    def __init__(
        self,
        app: Mapping[str, Secret],
        mode: str,
        before: str,
        public_url: str | None,
        session: aiohttp.ClientSession,
    ) -> None:
        self._app, self._mode, self._before, self._session = app, mode, before, session
        self._address = f"{public_url}/webhooks/stripe" if public_url else None
        self._name = f"stripe app, {mode} mode"
        self.to_set: dict[str, Secret] = {}

    async def look(self, *, make: bool) -> list[AppFinding]:
        key = app_key(self._app, self._mode)
        if key is None:
            return [self._wrong(f"{self._called('secret_key')} is not set: nobody can install the app.")]
        if mode_of(key.reveal()) != self._mode:
            return [self._wrong(f"{self._called('secret_key')} is no secret key of {self._mode} mode.")]
        if self._address is None:
            return [self._wrong("PERENNIAL_PUBLIC_URL is not set: neither merchants nor events find us.")]
        try:
            return [self._settings(), await self._endpoint(key, self._address, make=make)]
        except PlatformError as error:
            said = f"its Connect endpoint could not be looked at with {self._called('secret_key')}: {error}"
            return [self._settings(), self._wrong(said)]

    def _settings(self) -> AppFinding:
        names = [name for name in _NEEDED if not self._app.get(self._before + name)]
        if self._app.get(self._before + "authorize_url") and "client_id" in names:
            names.remove("client_id")
        if names:
            said = ", ".join(self._called(name) for name in names)
            return self._wrong(
                f"not set: {said}; extensions/stripe/README.md says what they are and where they stand."
            )
        return AppFinding(self._name, True, "its settings are there")

    async def _endpoint(self, key: Secret, address: str, *, make: bool) -> AppFinding:
        """The endpoint at our address, made or put right where that was asked for."""
        access = StoreAccess(
            "",
            {API_KEY: key},
            StoreOptions("", "UTC", {"patience_seconds": "15"}),
            self._app["api_base"].reveal() if self._app.get("api_base") else None,
        )
        client = Client(access, self._session, lambda: datetime.now(UTC), self._mode)
        endpoints = Endpoints(client, access)
        found = await endpoints.at(address)
        best = next((each for each in found if not _problems(each)), None)
        if best is not None:
            return self._stands(best)
        usable = next((each for each in found if each.api_version == API_VERSION), None)
        if not make:
            return self._wrong(f"{_told(found, address)} {_SET_UP}")
        if usable is not None:
            await endpoints.switch_on(usable.id)
            return self._right(f"the Connect endpoint {usable.id} is on again, for all events.")
        await self._make(client, endpoints, address)
        old = f" Then delete {', '.join(each.id for each in found)} in the Dashboard." if found else ""
        return self._right(
            f"a Connect endpoint for {address} is made. Set what is told below, and restart.{old}"
        )

    async def _make(self, client: Client, endpoints: Endpoints, address: str) -> None:
        made = await endpoints.create(address, connect=True, metadata=_CONNECT)
        if made.secret:
            self.to_set[self._called("webhook_secret")] = Secret(made.secret)
        destination = await Destinations(client).make(address, of="@accounts")
        if destination and destination.secret:
            self.to_set[self._called("thin_webhook_secret")] = Secret(destination.secret)

    def _stands(self, endpoint: WebhookEndpoint) -> AppFinding:
        if endpoint.metadata == _CONNECT:
            return self._right(f"the Connect endpoint {endpoint.id} is on")
        return self._right(
            f"the endpoint {endpoint.id} is on; that it listens to events on connected accounts only the Dashboard shows"
        )

    def _called(self, name: str) -> str:
        return _SETTING + (self._before + name).upper()

    def _right(self, detail: str) -> AppFinding:
        return AppFinding(self._name, True, detail)

    def _wrong(self, detail: str) -> AppFinding:
        return AppFinding(self._name, False, detail)


def _problems(endpoint: WebhookEndpoint) -> list[str]:
    missing = sorted(TOPICS.difference(endpoint.enabled_events)) if "*" not in endpoint.enabled_events else []
    return [
        *(["it is disabled"] if endpoint.status != "enabled" else []),
        *([f"it lacks the events {', '.join(missing)}"] if missing else []),
        *([f"its API version is {endpoint.api_version}"] if endpoint.api_version != API_VERSION else []),
    ]


def _told(found: Sequence[WebhookEndpoint], address: str) -> str:
    """What is wrong, in words."""
    if not found:
        return f"no Connect endpoint posts to {address}, so no installation's events arrive."
    said = "; ".join(f"{each.id}: {', '.join(_problems(each))}" for each in found)
    return f"the Connect endpoint for {address} is not as it should be ({said}). Its API version should be {API_VERSION}."
