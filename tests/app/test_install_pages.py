"""Install links: what browsers and platforms send reaches a connector's pages, and nothing else does."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import async_playwright
from pydantic import SecretStr

from app.server import serving
from app.settings import Settings
from app.wiring import open_jobs
from connectors.base import Secret
from connectors.web import FormField, Plain, Redirect, Site, WebAnswer, WebPage, WebRequest
from connectors.woocommerce import CONNECTOR as WOOCOMMERCE
from rewards.errors import AccessRevokedError, InvalidInputError, RetryLaterError
from sandbox.woocommerce import WooCommerceSandbox
from storage.database import Database
from storage.secrets import SecretBox, new_key
from sync.services import Services
from tests.sync.shops import Clock, rows, services_for, small_world

APP = {"client_id": Secret("public-id"), "client_secret": Secret("hush-hush-hush")}


class Pages:
    """The pages of a platform: begins with a form, leaves for the shop, comes back with the keys."""

    def __init__(self, shop: WooCommerceSandbox) -> None:
        self._shop = shop
        self.seen: list[WebRequest] = []

    async def handle(self, request: WebRequest, site: Site) -> WebAnswer:
        self.seen.append(request)
        pages: dict[str, Any] = {
            "": self._begin,
            "callback": self._callback,
            "framed": self._framed,
            "wrong": self._wrong,
            "secret": self._secret,
        }
        answer: WebAnswer = await pages[request.path](request, site)
        return answer

    async def _begin(self, request: WebRequest, site: Site) -> WebAnswer:
        if request.method == "POST":
            state = await site.ticket({"shop": request.form["shop"]}, 600)
            return Redirect(f"https://shop.example/authorize?state={state}")
        return WebPage("Connect", ("Which shop?",), (FormField("shop", "Address", help="With <https>"),))

    async def _callback(self, request: WebRequest, site: Site) -> WebAnswer:
        known = await site.redeem(request.query.get("state", ""))
        if known is None:
            return Plain(403, "unknown state")
        answers = self._shop.connect_answers()
        installation = await WOOCOMMERCE.install.installation(answers, site.session)
        made = await site.install(installation)
        return Plain(200, f"{made.id} {made.is_new} {known['shop']} {' '.join(made.notes)}")

    async def _framed(self, request: WebRequest, site: Site) -> WebAnswer:
        return WebPage(
            "In a frame",
            fields=(FormField("x", kind="hidden", value="1"),) if request.method == "GET" else (),
            frame_ancestors=("https://admin.example", "https://evil.example; script-src *"),
            scripts=("https://cdn.example/bridge.js",),
            meta={"api-key": site.app["client_id"].reveal()},
        )

    async def _wrong(self, request: WebRequest, site: Site) -> WebAnswer:
        match request.query["how"]:
            case "input":
                raise InvalidInputError("The shop's address is missing.")
            case "later":
                raise RetryLaterError("The shop is busy.", retry_after_seconds=7)
            case "refused":
                raise AccessRevokedError("The shop refused the key.")
            case "bug":
                raise ZeroDivisionError("Ada Abel")
        return Redirect(request.query["how"])

    async def _secret(self, request: WebRequest, site: Site) -> WebAnswer:
        return WebPage(site.app["client_secret"], (site.app["client_secret"],))


@dataclass
class Server:
    """The served app, its pages and a browser that knows no cookies."""

    address: str
    pages: Pages
    services: Services
    session: aiohttp.ClientSession

    def at(self, path: str = "") -> str:
        return f"{self.address}/install/woocommerce{path}"

    async def get(self, path: str = "", **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.session.get(self.at(path), headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer

    async def post(self, path: str = "", **given: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        async with self.session.post(self.at(path), allow_redirects=False, **given) as answer:
            return answer.status, await answer.text(), answer

    async def form(self, path: str = "") -> tuple[dict[str, str], dict[str, str]]:
        """The hidden fields of a page's form, and the cookies that came with it."""
        _, text, answer = await self.get(path)
        found = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text))
        return found, {name: cookie.value for name, cookie in answer.cookies.items()}


@pytest.fixture
async def server(database: Database, secret_box: SecretBox, tmp_path: Path) -> AsyncIterator[Server]:
    clock = Clock()
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(WooCommerceSandbox(small_world(clock), clock=clock))
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        pages = Pages(shop)
        services = replace(
            services_for(database, session, secret_box, clock, (replace(WOOCOMMERCE, web=pages),)),
            apps={"woocommerce": APP},
            allow_private_hosts=True,
        )
        jobs = await stack.enter_async_context(open_jobs(services))
        settings = Settings(data_dir=tmp_path, port=0, secret_key=SecretStr(new_key()))
        address = await stack.enter_async_context(serving(settings, services, jobs, with_worker=False))
        yield Server(address, pages, services, session)


async def test_a_form_leads_to_the_shop_and_back_to_an_installed_store(server: Server) -> None:
    fields, cookies = await server.form()
    status, _, answer = await server.post(data={**fields, "shop": "s.example"}, cookies=cookies)
    assert status == 303
    state = answer.headers["Location"].removeprefix("https://shop.example/authorize?state=")
    status, text, _ = await server.post(f"/callback?state={state}", json={"key": "ck"})
    assert status == 200
    assert text.startswith("1 True s.example Webhooks are not set up")
    assert server.pages.seen[-1].body == b'{"key": "ck"}'
    database = server.services.database
    assert await rows(database, "SELECT platform, status FROM stores") == [("woocommerce", "active")]
    found = await rows(database, "SELECT task_name, args->>'subject_id' FROM procrastinate_jobs")
    assert found == [("import_history", "1")]
    assert (await server.post(f"/callback?state={state}", json={}))[0] == 403  # a ticket is good once


async def test_tickets_are_kept_hashed_and_sealed_and_run_out(server: Server) -> None:
    fields, cookies = await server.form()
    _, _, answer = await server.post(data={**fields, "shop": "s.example"}, cookies=cookies)
    state = answer.headers["Location"].partition("state=")[2]
    ((kept, sealed),) = await rows(server.services.database, "SELECT digest, data FROM tickets")
    assert state.encode() not in bytes(kept)
    assert b"s.example" not in bytes(sealed)
    clock = server.services.clock
    assert isinstance(clock, Clock)
    clock.pass_days(1)
    assert (await server.post(f"/callback?state={state}", json={}))[0] == 403


async def test_a_form_that_another_site_sends_is_refused(server: Server) -> None:
    fields, cookies = await server.form()
    sent = {**fields, "shop": "s.example"}
    assert (await server.post(data={"shop": "s.example"}, cookies=cookies))[0] == 403  # no token
    assert (await server.post(data=sent))[0] == 403  # another browser's token
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await server.post(data=sent, cookies=cookies, headers=headers))[0] == 403
    assert (await server.post("/framed", data=sent, cookies=cookies))[0] == 403  # of another page
    headers = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    assert (await server.post(data=sent, cookies=cookies, headers=headers))[0] == 303
    clock = server.services.clock
    assert isinstance(clock, Clock)
    clock.pass_days(1)
    status, text, _ = await server.post(data=sent, cookies=cookies)
    assert status == 403
    assert "load the page again" in text


async def test_pages_allow_nothing_that_they_do_not_name(server: Server) -> None:
    status, text, answer = await server.get()
    policy = answer.headers["Content-Security-Policy"]
    assert status == 200
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script|<style|style=|onclick", text)
    assert "With &lt;https&gt;" in text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.cookies["perennial_form"]["httponly"]
    assert answer.cookies["perennial_form"]["samesite"] == "Lax"
    async with server.session.get(f"{server.address}/install/page.css") as style:
        assert style.status == 200
        assert style.content_type == "text/css"


async def test_a_page_in_a_frame_names_who_may_frame_it_and_sets_no_cookie(server: Server) -> None:
    _, text, answer = await server.get("/framed")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors https://admin.example")
    assert "script-src https://cdn.example/bridge.js;" in policy
    assert '<script src="https://cdn.example/bridge.js"></script>' in text
    assert '<meta name="api-key" content="public-id">' in text
    assert "Set-Cookie" not in answer.headers
    fields, _ = await server.form("/framed")
    assert (await server.post("/framed", data=fields))[0] == 403
    own = {"Origin": server.address}
    assert (await server.post("/framed", data=fields, headers=own))[0] == 200


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example",
        "javascript:alert(1)",
        "https://me@evil.example/",
        "/\\evil.example",
        "",
        "ftp://a.b/",
    ],
)
async def test_a_page_sends_nobody_to_an_address_that_is_not_allowed(server: Server, address: str) -> None:
    async with server.session.get(
        server.at("/wrong"), params={"how": address}, allow_redirects=False
    ) as answer:
        assert answer.status == 500
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("input", 400, "The shop&#39;s address is missing."),
        ("later", 503, "The shop is busy. Try again in 7 seconds."),
        ("refused", 502, "The shop refused the key."),
        ("bug", 500, "finds the reason in its log"),
    ],
)
async def test_what_went_wrong_is_said_in_words_for_people(
    server: Server, how: str, status: int, said: str
) -> None:
    found, text, answer = await server.get(f"/wrong?how={how}")
    assert found == status
    assert said in text
    assert "Ada" not in text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_an_answer_never_shows_a_secret(server: Server) -> None:
    _, text, _ = await server.get("/secret")
    assert "hush" not in text
    assert "<h1>…</h1>" in text


async def test_other_paths_methods_and_bodies_are_refused(server: Server) -> None:
    async with server.session.get(f"{server.address}/install/nobody") as answer:
        assert answer.status == 404
        assert "There is nothing here" in await answer.text()
    assert (await server.post(data=b"x", headers={"Content-Type": "text/plain"}))[0] == 415
    assert (await server.post("/callback", json={"x": "y" * 70_000}))[0] == 413
    async with server.session.put(server.at()) as answer:
        assert answer.status == 405
    async with server.session.head(server.at("/wrong?how=bug")) as answer:
        assert answer.status == 200
    assert server.pages.seen == []


async def test_whoever_posts_too_often_has_to_wait(server: Server) -> None:
    answers = [await server.post("/callback", json={}) for _ in range(22)]
    assert [status for status, _, _ in answers] == [403] * 20 + [429] * 2
    assert int(answers[-1][2].headers["Retry-After"]) > 0
    clock = server.services.clock
    assert isinstance(clock, Clock)
    clock.pass_days(1 / 24)
    assert (await server.post("/callback", json={}))[0] == 403


async def test_an_operator_can_do_without_the_pages(server: Server, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, install_pages=False)
    async with (
        open_jobs(server.services) as jobs,
        serving(settings, server.services, jobs, with_worker=False) as address,
        server.session.get(f"{address}/install/woocommerce") as answer,
    ):
        assert answer.status == 404
    assert server.pages.seen == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
async def test_a_browser_shows_the_page_on_a_phone_and_sends_its_form(server: Server) -> None:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = await browser.new_page(viewport={"width": 320, "height": 640}, color_scheme="dark")
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(server.at())
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 19)"
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320
        await page.get_by_label("Address").fill("s.example")
        async with page.expect_request("https://shop.example/authorize?state=*"):
            # There is no such shop: it is enough that the browser sets out for it.
            await page.get_by_role("button").click(no_wait_after=True)
        assert server.pages.seen[-1].form == {"shop": "s.example"}
        assert server.pages.seen[-1].headers["origin"] == server.address
        assert complaints == []
        await browser.close()
