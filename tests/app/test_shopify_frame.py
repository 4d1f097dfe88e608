"""The app in the frame of a stand-in admin, in a real browser: what App Bridge finds there, and who cannot frame it.

The admin and Shopify's script are stood in for at the HTTP boundary: the script does what the real one is documented to
do for a page (shopify.dev, "App Bridge", "ID tokens"), the admin hands it ID tokens.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Frame, Page, Route, async_playwright

from connectors.shopify.web import APP_BRIDGE
from storage.database import Database
from storage.secrets import SecretBox
from tests.app.shopify_app import App, served

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")

ADMIN = "https://admin.shopify.com"
STRANGER = "https://stranger.example"
FRAMING = """<!doctype html><title>Admin</title><iframe id="app" src="%s"></iframe>
<script>addEventListener("message", async event => {
    if (event.data !== "id token, please") return;
    const answer = await fetch("/id-token");
    event.source.postMessage({idToken: await answer.text()}, event.origin);
});</script>"""

# As the real one: a page that asks for a reload gets it with a fresh token, others get `fetch` with the token in the header,
# tried once more when the server says that the token was no good.
SCRIPT = """(() => {
    const mine = document.currentScript, scripts = [...document.scripts];
    const token = () => new Promise(found => {
        addEventListener("message", event => found(event.data.idToken), {once: true});
        parent.postMessage("id token, please", "*");
    });
    window.bridge = {
        isFirst: scripts[0] === mine && !mine.async && !mine.defer && mine.type !== "module",
        apiKey: document.querySelector('meta[name="shopify-api-key"]')?.content,
    };
    const reload = new URLSearchParams(location.search).get("shopify-reload");
    if (reload) {
        token().then(idToken => {
            const address = new URL(reload);
            address.searchParams.set("id_token", idToken);
            location.replace(address);
        });
        return;
    }
    const plain = window.fetch.bind(window);
    window.fetch = async (address, options = {}) => {
        const send = async idToken => plain(address, {...options, headers: {Authorization: `Bearer ${idToken}`}});
        const answer = await send(window.bridge.stale ?? await token());
        if (answer.headers.get("X-Shopify-Retry-Invalid-Session-Request") !== "1") return answer;
        window.bridge.retried = answer.status;
        return send(await token());
    };
})();"""


@dataclass
class Admin:
    """A browser with the stand-in admin, and what its console complained of."""

    app: App
    browser: Browser
    complaints: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def frames(self, origin: str, query: dict[str, str]) -> AsyncIterator[tuple[Page, Frame]]:
        """A page of this origin with the app in its frame, loaded by this link; cookies of third parties are kept out."""
        address = f"{self.app.services.public_url}/install/shopify?{urlencode(query)}"

        async def answer(route: Route) -> None:
            if route.request.url.endswith("/id-token"):
                await route.fulfill(body=self.app.sandbox.oauth.id_token())
            else:
                framing = FRAMING % address.replace("&", "&amp;")
                await route.fulfill(body=framing, content_type="text/html")

        async def script(route: Route) -> None:
            await route.fulfill(body=SCRIPT, content_type="text/javascript")

        context = await self.browser.new_context()
        page = await context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        await page.route(f"{origin}/**", answer)
        await page.route(APP_BRIDGE, script)
        await page.goto(f"{origin}/store/ada/apps/perennial")
        handle = await page.wait_for_selector("#app")
        frame = await handle.content_frame()
        assert frame is not None
        yield page, frame
        await context.close()


@pytest.fixture
async def admin(
    database: Database, database_url: str, secret_box: SecretBox, tmp_path: Path
) -> AsyncIterator[Admin]:
    async with served(database, database_url, secret_box, tmp_path) as app, async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            # The admin is no page of the internet here, and the app one of this machine.
            args=["--no-sandbox", "--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessChecks"],
        )
        yield Admin(app, browser)
        await browser.close()


async def test_the_app_opens_in_the_admin_and_leaves_nothing_in_the_browser(admin: Admin) -> None:
    async with admin.frames(ADMIN, admin.app.sandbox.oauth.launch()) as (page, frame):
        await frame.get_by_text("is connected").wait_for()
        assert await frame.evaluate("bridge") == {
            "isFirst": True,
            "apiKey": admin.app.sandbox.oauth.client_id,
        }
        assert await page.context.cookies() == []
        assert await frame.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            0,
            0,
            "",
        ]
        assert await frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert admin.complaints == []
    assert await admin.app.statuses() == [("active",)]


async def test_a_page_without_a_good_token_comes_back_over_the_bounce_page(admin: Admin) -> None:
    stale = admin.app.sandbox.oauth.id_token(exp=1, nbf=0)
    for token in (None, stale):
        async with admin.frames(ADMIN, admin.app.sandbox.oauth.launch(id_token=token)) as (page, frame):
            await frame.get_by_text("is connected").wait_for()
            assert "bounce" not in frame.url
            assert await page.context.cookies() == []
    assert admin.complaints == []


async def test_a_script_in_the_frame_sends_its_token_in_the_header_and_tries_a_stale_one_again(
    admin: Admin,
) -> None:
    async with admin.frames(ADMIN, admin.app.sandbox.oauth.launch()) as (_, frame):
        await frame.get_by_text("is connected").wait_for()
        asks = "fetch('/install/shopify').then(async answer => [answer.status, await answer.text()])"
        status, text = await frame.evaluate(asks)
        assert status == 200
        assert "Everything that Perennial needs is there" in text
        await frame.evaluate(
            "token => { bridge.stale = token }", admin.app.sandbox.oauth.id_token(exp=1, nbf=0)
        )
        status, _ = await frame.evaluate(asks)
        assert status == 200
        assert await frame.evaluate("bridge.retried") == 401


async def test_a_merchant_gets_from_the_page_to_where_older_orders_are_granted(admin: Admin) -> None:
    sandbox = admin.app.sandbox
    sandbox.oauth.scopes.remove("read_all_orders")
    async with admin.frames(ADMIN, sandbox.oauth.launch()) as (page, frame):
        link = frame.get_by_role("link", name="older than 60 days")
        await link.wait_for()

        async def granted(route: Route) -> None:
            await route.fulfill(body="May Perennial see all orders?")

        await page.route(f"https://{sandbox.shop}/**", granted)
        await link.click()
        await page.get_by_text("May Perennial see all orders?").wait_for()
        assert page.url.startswith(f"https://{sandbox.shop}/admin/oauth/install?client_id=")
        assert page.url.endswith("optional_scopes=read_all_orders"), "the whole window, not the frame"


async def test_nobody_else_can_put_the_app_into_a_frame(admin: Admin) -> None:
    async with admin.frames(STRANGER, admin.app.sandbox.oauth.launch()) as (page, frame):
        await page.wait_for_function("document.getElementById('app').contentDocument === null")
        await page.wait_for_timeout(300)
        assert not frame.url.startswith("http://127.0.0.1")
    [complaint] = [text for text in admin.complaints if "frame-ancestors" in text]
    assert admin.app.sandbox.shop in complaint
