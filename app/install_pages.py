"""`/install/<platform>`: turns requests into what a connector's WebInstall takes, and its answers into pages.

What the web demands is done here once for all platforms: forms that nobody else can send, a strict content policy, limits,
redirects to https only. A platform's own checks (signatures, states, tickets) are the connector's.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from quart import Blueprint, Response, render_template, request
from werkzeug.exceptions import HTTPException

from app.forms import COOKIE, FIELD, LIVES, FormTokens, new_cookie
from app.policy import headers_of, is_allowed
from app.version import version
from app.visitors import Visitors
from connectors.web import Plain, Redirect, ShownInFrames, WebAnswer, WebPage, WebRequest
from rewards.errors import AppError, InvalidInputError, NotFoundError, PlatformError, RetryLaterError
from sync.attempts import OUTAGES, describe
from sync.install import Along
from sync.services import Services
from sync.site import PlatformSite

logger = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
AGAIN_SECONDS = 30


def install_pages(services: Services, start_import: Along) -> Blueprint:
    """The pages of all platforms that have any."""
    pages = Blueprint("install", __name__, url_prefix="/install", template_folder="templates")
    desk = _Desk(services, start_import)

    @pages.route("/<platform>", methods=["GET", "POST"], defaults={"path": ""})
    @pages.route("/<platform>/<path:path>", methods=["GET", "POST"])
    async def page(platform: str, path: str) -> Response:
        return await desk.serve(platform, path.strip("/"))

    style = (Path(__file__).parent / "static" / "install.css").read_text(encoding="utf-8")

    @pages.route("/page.css")
    async def page_style() -> Response:
        headers = {"Cache-Control": "public, max-age=86400"}  # its address changes with the version
        return Response(style, content_type="text/css; charset=utf-8", headers=headers)

    @pages.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> Response:
        problem = error.description or "This request cannot be answered."
        return await desk.shown("", WebPage("This did not work", (problem,), status=error.code or 400))

    return pages


class _Desk:
    """Takes requests, and gives answers to the browser."""

    def __init__(self, services: Services, start_import: Along) -> None:
        self._services = services
        self._start_import = start_import
        self._readers = Visitors(per_minute=300, burst=120)
        self._senders = Visitors(per_minute=20, burst=20)

    async def serve(self, platform: str, path: str) -> Response:
        """One request, from its limits to its answer."""
        if request.method == "HEAD":  # previews of links must not use anything up
            return Response("")
        visitors = self._senders if request.method == "POST" else self._readers
        wait = visitors.wait_of(request.remote_addr or "", self._services.clock().timestamp())
        if wait > 0:
            return await self.shown(platform, _come_back("Too many requests", 429, wait))
        answer = await self._answer(platform, path)
        if isinstance(answer, Redirect):
            if is_allowed(answer.url, self._services):
                return _sent_on(answer.url)
            logger.error("A page of %s wanted to redirect to an address that is not allowed.", platform)
            answer = _failed()
        return await self.shown(platform, answer)

    async def _answer(self, platform: str, path: str) -> WebAnswer:
        connector = self._services.connectors.get(platform)
        if connector is None or connector.web is None:
            return WebPage(
                "There is nothing here",
                ("Check the address. Some platforms are connected with `perennial connect`.",),
                status=404,
            )
        asked = await self._request(platform, path)
        if not isinstance(asked, WebRequest):
            return asked
        site = PlatformSite(self._services, platform, self._start_import)
        try:
            return await connector.web.handle(asked, site)
        except (AppError, *OUTAGES) as error:
            page = _explained(error)
        except Exception as error:
            logger.error("A page of %s failed: %s", platform, describe(error))
            page = _failed()
        if isinstance(connector.web, ShownInFrames):
            page = replace(page, frame_ancestors=connector.web.frame_of(asked, site))
        return page

    async def _request(self, platform: str, path: str) -> WebRequest | WebAnswer:
        """The request as connectors know it, or why it is refused."""
        body = cast(bytes, await request.get_data(cache=False))
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers.pop("cookie", None)
        form: dict[str, str] = {}
        if request.method == "POST" and request.mimetype == FORM:
            form = _pairs(body.decode("utf-8", "replace"))
            token, cookie = form.pop(FIELD, ""), request.cookies.get(COOKIE, "")
            goes_to = _full(platform, path)
            if not self._tokens().is_ours(token, goes_to, cookie, headers, self._services.clock()):
                return WebPage("Please try again", (_STALE,), status=403)
        elif request.method == "POST" and request.mimetype != JSON:
            return Plain(415, f"Send {FORM} or {JSON}.")
        raw = request.query_string.decode("ascii", "replace")
        return WebRequest(request.method, path, _pairs(raw), form, headers, body, raw)

    async def shown(self, platform: str, answer: WebPage | Plain) -> Response:
        """A page or a plain answer with all headers."""
        if isinstance(answer, Plain):
            response = Response(answer.text, status=answer.status, content_type=answer.content_type)
            response.headers.update({**answer.headers, **headers_of(WebPage(""), self._services)})
            return response
        form: dict[str, str] = {}
        cookie = ""
        if answer.fields:
            goes_to = _full(platform, answer.action.strip("/") or _own_path(platform))
            cookie = "" if answer.frame_ancestors else request.cookies.get(COOKIE) or new_cookie()
            token = self._tokens().token(goes_to, cookie, self._services.clock())
            form = {"action": goes_to, "field": FIELD, "token": token}
        links = {
            label: address for label, address in answer.links.items() if is_allowed(address, self._services)
        }
        page = replace(answer, links=links)
        text = await render_template("install.html", page=page, form=form, version=version())
        response = Response(text, status=answer.status, content_type="text/html; charset=utf-8")
        response.headers.update({**answer.headers, **headers_of(answer, self._services)})
        if cookie:
            is_secure = request.is_secure or (self._services.public_url or "").startswith("https:")
            response.set_cookie(
                COOKIE, cookie, LIVES, path="/install", httponly=True, secure=is_secure, samesite="Lax"
            )
        return response

    def _tokens(self) -> FormTokens:
        """Pages live at the public address, or where they were asked for while there is none."""
        parts = urlsplit(self._services.public_url or request.url_root)
        origins = frozenset({f"{parts.scheme}://{parts.netloc}"})
        return FormTokens(self._services.secret_box, origins)


_STALE = (
    "The form was open for too long, or was not sent from this server's own page. Go back, load the page again, "
    "and send it once more."
)


def _full(platform: str, path: str) -> str:
    return f"/install/{platform}/{path}".rstrip("/")


def _own_path(platform: str) -> str:
    return request.path.removeprefix(f"/install/{platform}").strip("/")


def _pairs(text: str) -> dict[str, str]:
    """Names and values; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=200):
        found.setdefault(name, value)
    return found


def _sent_on(url: str) -> Response:
    response = Response("", status=303)
    response.headers["Location"] = url
    response.headers["Cache-Control"] = "no-store"
    return response


def _explained(error: Exception) -> WebPage:
    """What went wrong, in the words that are made for people, and whose turn it is."""
    if isinstance(error, InvalidInputError):
        return WebPage("This did not work", (str(error),), status=400)
    if isinstance(error, NotFoundError):
        return WebPage("There is nothing here", (str(error),), status=404)
    if isinstance(error, RetryLaterError):
        return _come_back(str(error), 503, error.retry_after_seconds or AGAIN_SECONDS)
    if isinstance(error, PlatformError):
        return WebPage("The store refused this", (str(error),), status=502)
    logger.error("A page could not be answered: %s", describe(error))
    return _come_back("Perennial cannot answer just now.", 503, AGAIN_SECONDS)


def _come_back(said: str, status: int, seconds: float) -> WebPage:
    wait = max(1, round(seconds))
    headers = {"Retry-After": str(wait)}
    return WebPage(
        "Please come back in a moment",
        (f"{said.rstrip('.')}. Try again in {wait} seconds.",),
        status=status,
        headers=headers,
    )


def _failed() -> WebPage:
    said = "Perennial could not answer this. Whoever runs it finds the reason in its log."
    return WebPage("Something went wrong here", (said,), status=500)
