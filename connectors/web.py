"""What a platform's pages for merchants are made of: links that a browser opens to install the app and to manage it.

A connector's WebInstall gets plain requests and gives plain answers; it knows nothing of the web framework or of our
tables. Requests come for `/install/<platform>/<path>`. Forms of a Page are sent to the page's own address or to `action`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

import aiohttp

from connectors.base import Installation, Secret


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One request of a browser or of the platform.

    `path` is what follows the platform's own, without slashes around it ("" or "callback"); header names are in lower
    case. `form` holds the fields of a form that was sent; its token against forgery was checked already. `raw_query`
    is for signatures over the query as it was sent.
    """

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw_query: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Sends the browser on: to an https address, or to one of our own ("/install/…")."""

    url: str


@dataclass(frozen=True, slots=True)
class FormField:
    """One field that a page asks for; `value` of a hidden one is in the page for everybody to read."""

    name: str
    label: str = ""
    kind: str = "text"  # text | password | url | email | hidden
    value: str = ""
    help: str = ""
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page for people: a title, paragraphs, and a form when there are fields.

    `frame_ancestors`: who may show the page in a frame (the platform's own pages); nobody else can. `scripts`:
    addresses of scripts that the platform wants in such a page. No answer holds a secret.
    """

    title: str
    lines: Sequence[str] = ()
    fields: Sequence[FormField] = ()
    submit: str = "Continue"
    action: str = ""  # where the form goes, below the platform's own path; "" is the page itself
    links: Mapping[str, str] = field(
        default_factory=dict
    )  # what they are called → https address or one of our own
    status: int = 200
    frame_ancestors: Sequence[str] = ()
    scripts: Sequence[str] = ()
    meta: Mapping[str, str] = field(default_factory=dict)  # what such a script reads from the page's head
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer for programs."""

    status: int
    text: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


WebAnswer: TypeAlias = Redirect | WebPage | Plain


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """An installed store; `notes` are for the merchant. `status` is "active", "paused" or "uninstalled".

    `settings` are the store's, the connector's own among them.
    """

    id: int
    name: str
    is_new: bool
    notes: Sequence[str] = ()
    status: str = "active"
    settings: Mapping[str, str] = field(default_factory=dict)


class Site(Protocol):
    """What Perennial offers a platform's pages."""

    @property
    def public_url(self) -> str | None:
        """Where browsers reach us, without a slash at the end; None until the operator says."""
        ...

    @property
    def app(self) -> Mapping[str, Secret]:
        """The operator's settings of this platform's app, names in lower case ("client_id")."""
        ...

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session that all platforms share."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """Aware UTC."""
        ...

    @property
    def allow_private_hosts(self) -> bool:
        """True when stores may be on the machine's own network."""
        ...

    async def ticket(self, data: Mapping[str, str], seconds: int) -> str:
        """A text that nobody can guess and that stands for `data` for so long; `data` is stored sealed."""
        ...

    async def redeem(self, ticket: str, *, once: bool = True) -> Mapping[str, str] | None:
        """What the ticket of this platform stands for; None when it is unknown, too old or was redeemed `once`."""
        ...

    async def amend(self, ticket: str, data: Mapping[str, str]) -> None:
        """The ticket stands for this from now on, and ends when it would have; nothing when it is unknown."""
        ...

    async def install(self, installation: Installation) -> StoreSummary:
        """Stores a checked installation, sets webhooks up, starts the first reading. Raises as connect does."""
        ...

    async def store(self, external_id: str) -> StoreSummary | None:
        """The store that the platform calls so, with `is_new` False."""
        ...


class WebInstall(Protocol):
    """A platform's pages."""

    async def handle(self, request: WebRequest, site: Site) -> WebAnswer:
        """Answers one request below `/install/<platform>`.

        Raises InvalidInputError (shown as a page with status 400) and PlatformError (502, what to do is shown).
        """
        ...


@runtime_checkable
class ShownInFrames(Protocol):
    """What a WebInstall offers besides whose pages stand in frames: there, errors have to be seen too."""

    def frame_of(self, request: WebRequest, site: Site) -> Sequence[str]:
        """Who may frame the page that says why this request failed; nobody when the request proves nothing."""
        ...
