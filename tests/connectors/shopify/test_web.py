"""Installing from the App Store: who is let in, what is exchanged, and who may show our pages in a frame."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from connectors.base import Secret
from connectors.shopify.id_tokens import InvalidIdTokenError, merchant_of, signed_shop
from connectors.shopify.subscriptions import by_own_app
from connectors.shopify.web import APP_BRIDGE, ShopifyWeb
from connectors.web import Plain, Redirect, StoreSummary, WebPage, WebRequest
from rewards.errors import AccessRevokedError, RetryLaterError
from sandbox.shopify import CLIENT_ID, CLIENT_SECRET
from sandbox.shopify_oauth import OAuthDesk, query_hmac
from tests.connectors.shopify.shops import Shop, a_shop

WEB = ShopifyWeb()


def loads(query: Mapping[str, str], *, path: str = "", **headers: str) -> WebRequest:
    """The document that a browser asks for."""
    return WebRequest("GET", path, dict(query), headers=headers, raw_query=urlencode(query))


def desk(shop: Shop) -> OAuthDesk:
    return shop.sandbox.oauth


def accepted(shop: Shop, id_token: str) -> str | None:
    try:
        return merchant_of(id_token, Secret(CLIENT_ID), [Secret(CLIENT_SECRET)]).shop
    except InvalidIdTokenError:
        return None


# -- ID tokens -------------------------------------------------------------------------------------------------------


async def test_a_genuine_id_token_names_its_shop() -> None:
    async with a_shop() as shop:
        assert accepted(shop, desk(shop).id_token()) == shop.sandbox.shop
        slow = int(time.time()) + 5
        assert accepted(shop, desk(shop).id_token(nbf=slow)), "a clock may be some seconds behind"


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 3_600},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": NOW + 3_600},
        {"aud": "another-app"},
        {"aud": None},
        {"iss": "https://other-shop.myshopify.com/admin"},
        {"dest": "https://other-shop.myshopify.com"},
        {"iss": "https://evil.example/admin", "dest": "https://evil.example"},
        {"iss": "https://x.myshopify.com.evil.example/admin", "dest": "https://x.myshopify.com.evil.example"},
        {"iss": "http://a-shop.myshopify.com/admin", "dest": "http://a-shop.myshopify.com"},
        {"iss": "https://me@a-shop.myshopify.com/admin", "dest": "https://me@a-shop.myshopify.com"},
        {"iss": "https://a-shop.myshopify.com:8443/admin", "dest": "https://a-shop.myshopify.com:8443"},
        {"dest": None},
        {"dest": 7},
        {"iss": ["https://a-shop.myshopify.com/admin"]},
        {"sub": None},
        {"sid": None},
        {"jti": None},
    ],
)
async def test_an_id_token_with_a_claim_that_does_not_fit_is_refused(claims: dict[str, Any]) -> None:
    async with a_shop() as shop:
        assert accepted(shop, desk(shop).id_token(**claims)) is None


def unsigned(token: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def signed_by(token: str, digest: str, name: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": name, "typ": "JWT"}).encode()).rstrip(b"=").decode()
    parts = f"{head}.{token.split('.')[1]}"
    mac = hmac.new(CLIENT_SECRET.encode(), parts.encode(), digest).digest()
    return f"{parts}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_only_our_secret_and_only_hs256_signs() -> None:
    async with a_shop() as shop:
        good = desk(shop).id_token()
        assert accepted(shop, signed_by(good, "sha256", "HS256")) == shop.sandbox.shop
        forged = desk(shop).id_token(secret="shpss_somebody_elses_0123456789abcdef")
        other = [
            forged,
            unsigned(good),
            signed_by(good, "sha512", "HS512"),
            signed_by(good, "sha384", "HS384"),
        ]
        broken = ["", "a", "a.b.c", good[:-2], good + "x", "é" * 40, good * 40]
        assert [accepted(shop, token) for token in other + broken] == [None] * len(other + broken)


async def test_both_secrets_open_while_one_is_being_replaced() -> None:
    async with a_shop() as shop:
        old = desk(shop).id_token()
        shop.sandbox.rotate_secret("shpss_the_new_one_0123456789abcdef01")
        both = [Secret(shop.sandbox.client_secret), Secret(CLIENT_SECRET)]
        for token in (old, desk(shop).id_token()):
            assert merchant_of(token, Secret(CLIENT_ID), both).shop == shop.sandbox.shop
        with pytest.raises(InvalidIdTokenError):
            merchant_of(old, Secret(CLIENT_ID), both[:1])


def test_a_signed_link_names_its_shop_also_with_characters_that_need_encoding() -> None:
    query = {"shop": "a-shop.myshopify.com", "host": "YWRtaW4=", "note": "a b/c+d&e=f%", "timestamp": "1"}
    raw = urlencode(query | {"hmac": query_hmac(query, "hush")})
    assert signed_shop(raw, [Secret("other"), Secret("hush")]) == "a-shop.myshopify.com"
    by_hand = "host=YWRtaW4%3D&note=a%20b%2Fc%2Bd%26e%3Df%25&shop=a-shop.myshopify.com&timestamp=1"
    mac = hmac.new(b"hush", by_hand.encode(), hashlib.sha256).hexdigest()
    assert raw.endswith(mac)


@pytest.mark.parametrize(
    "bent",
    [
        lambda raw: raw.replace("a-shop", "b-shop"),
        lambda raw: raw + "&shop=b-shop.myshopify.com",
        lambda raw: raw + "&extra=1",
        lambda raw: raw.partition("&hmac")[0],
        lambda raw: "",
        lambda raw: "hmac=%FF&shop=a-shop.myshopify.com",
    ],
)
def test_a_link_that_was_changed_names_nobody(bent: Any) -> None:
    query = {"shop": "a-shop.myshopify.com", "timestamp": "1"}
    raw = urlencode(query | {"hmac": query_hmac(query, "hush")})
    assert signed_shop(raw, [Secret("hush")]) is not None
    assert signed_shop(bent(raw), [Secret("hush")]) is None


# -- installing ------------------------------------------------------------------------------------------------------


async def test_the_first_verified_request_of_a_shop_installs_it() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert page.status == 200
        [made] = pages.installed
        assert made.external_id == shop.sandbox.shop
        assert made.credentials.keys() == {
            "access_token",
            "access_ends_at",
            "refresh_token",
            "refresh_ends_at",
        }
        assert desk(shop).opens(made.credentials["access_token"].reveal())
        assert [secret.reveal() for secret in made.webhook_secrets] == [CLIENT_SECRET]
        assert any("is connected" in line for line in page.lines)
        assert any("are being read" in line for line in page.lines)
        assert page.fields == (), "no shop's name is asked for"


async def test_the_next_request_exchanges_nothing() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        await WEB.handle(loads(desk(shop).launch()), pages)
        granted = desk(shop).granted
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert not any("are being read" in line for line in page.lines)
        assert (len(pages.installed), desk(shop).granted) == (1, granted)


@pytest.mark.parametrize("status", ["paused", "uninstalled"])
async def test_opening_the_app_gives_a_shop_without_access_a_new_one(status: str) -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        await WEB.handle(loads(desk(shop).launch()), pages)
        pages.stores[shop.sandbox.shop] = replace(pages.stores[shop.sandbox.shop], status=status)
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert len(pages.installed) == 2
        assert pages.installed[0].credentials != pages.installed[1].credentials


async def test_a_shop_with_an_app_of_its_own_is_left_to_it_and_told_so() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        pages.stores[shop.sandbox.shop] = StoreSummary(
            7, "Ada's Shop", False, settings=by_own_app(Secret("own"))
        )
        granted = desk(shop).granted
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert "by an app of its own" in page.lines[0]
        assert (pages.installed, desk(shop).granted) == ([], granted)
        assert page.frame_ancestors[0] == f"https://{shop.sandbox.shop}"


async def test_an_own_app_that_is_the_operators_too_is_one_app() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        settings = by_own_app(Secret(CLIENT_ID))
        pages.stores[shop.sandbox.shop] = StoreSummary(7, "Ada's Shop", False, settings=settings)
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert page.lines[0] == "Ada's Shop is connected."


async def test_the_shop_is_who_the_token_says_and_not_who_the_address_says() -> None:
    async with a_shop() as shop:
        query = desk(shop).launch() | {"shop": "another-shop.myshopify.com"}
        page = await WEB.handle(loads(query), pages := shop.pages())
        assert isinstance(page, WebPage)
        assert page.frame_ancestors[0] == f"https://{shop.sandbox.shop}"
        assert pages.installed[0].external_id == shop.sandbox.shop


async def test_what_is_missing_is_said() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        await WEB.handle(loads(desk(shop).launch()), pages)
        known = pages.stores[shop.sandbox.shop]
        pages.stores[shop.sandbox.shop] = replace(known, notes=("The app lacks the permission read_orders.",))
        page = await WEB.handle(loads(desk(shop).launch()), pages)
        assert isinstance(page, WebPage)
        assert "The app lacks the permission read_orders." in page.lines


async def test_a_refused_exchange_stores_nothing_and_is_told() -> None:
    async with a_shop() as shop:
        desk(shop).is_installed = False
        with pytest.raises(AccessRevokedError):
            await WEB.handle(loads(desk(shop).launch()), pages := shop.pages())
        desk(shop).is_installed = True
        shop.sandbox.faults.server_errors = 1
        with pytest.raises(RetryLaterError):
            await WEB.handle(loads(desk(shop).launch()), pages)
        assert pages.installed == []


@pytest.mark.parametrize("lacking", ["client_id", "client_secret"])
async def test_an_operator_who_has_not_set_the_app_up_is_told_how(lacking: str) -> None:
    async with a_shop() as shop:
        page = await WEB.handle(loads(desk(shop).launch()), shop.pages(**{lacking: None}))
        assert isinstance(page, WebPage)
        assert page.status == 503
        assert "PERENNIAL_APPS__SHOPIFY__CLIENT_ID" in page.lines[0]
        assert page.frame_ancestors == ()


# -- the frame, the bounce page, and requests of scripts -------------------------------------------------------------


async def test_a_page_is_framed_by_its_own_shop_alone_and_loads_app_bridge_first() -> None:
    async with a_shop() as shop:
        page = await WEB.handle(loads(desk(shop).launch()), shop.pages())
        assert isinstance(page, WebPage)
        assert page.frame_ancestors == (f"https://{shop.sandbox.shop}", "https://admin.shopify.com")
        assert page.scripts[0] == APP_BRIDGE
        assert page.meta == {"shopify-api-key": CLIENT_ID}
        assert not {name.lower() for name in page.headers} & {"set-cookie", "x-frame-options"}


@pytest.mark.parametrize("token", [None, "stale", "forged"])
async def test_without_a_good_token_the_bounce_page_fetches_one(token: str | None) -> None:
    async with a_shop() as shop:
        tokens = {
            "stale": desk(shop).id_token(exp=NOW - 60, nbf=NOW - 120),
            "forged": desk(shop).id_token(secret="shpss_somebody_elses_0123456789abcdef"),
        }
        launch = desk(shop).launch(id_token=tokens[token] if token else None)
        answer = await WEB.handle(loads(launch), pages := shop.pages())
        assert isinstance(answer, Redirect)
        assert pages.installed == []
        place = urlsplit(answer.url)
        assert (place.scheme, place.netloc, place.path) == ("", "", "/install/shopify/bounce")
        query = dict(parse_qsl(place.query))
        assert "id_token" not in answer.url
        assert query["host"] == launch["host"], "App Bridge needs it"
        back = urlsplit(query["shopify-reload"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == "https://perennial.example/install/shopify"
        assert parse_qs(back.query)["host"] == [launch["host"]]
        page = await WEB.handle(loads(query, path="bounce"), pages)
        assert isinstance(page, WebPage)
        assert page.scripts == (APP_BRIDGE,)
        assert page.frame_ancestors == (f"https://{shop.sandbox.shop}", "https://admin.shopify.com")


async def test_nobody_can_frame_the_bounce_page_of_a_link_that_shopify_did_not_sign() -> None:
    async with a_shop() as shop:
        for query in (
            {},
            {"shop": shop.sandbox.shop, "host": "x"},
            desk(shop).launch(id_token=None) | {"host": "y"},
        ):
            answer = await WEB.handle(loads(query), pages := shop.pages())
            assert isinstance(answer, Redirect)
            query = dict(parse_qsl(urlsplit(answer.url).query))
            for bent in ({}, {"frame": "0" * 64}, {"shop": "evil.example"}):
                page = await WEB.handle(loads(query | bent, path="bounce"), pages)
                assert isinstance(page, WebPage)
                assert page.frame_ancestors == ()


async def test_a_shop_cannot_use_the_proof_of_another() -> None:
    async with a_shop() as shop:
        answer = await WEB.handle(loads(desk(shop).launch(id_token=None)), pages := shop.pages())
        assert isinstance(answer, Redirect)
        query = dict(parse_qsl(urlsplit(answer.url).query)) | {"shop": "other-shop.myshopify.com"}
        page = await WEB.handle(loads(query, path="bounce"), pages)
        assert isinstance(page, WebPage)
        assert page.frame_ancestors == ()


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://evil.example/",
        "https://perennial.example.evil.example/install/shopify",
        "https://perennial.example/install/shopify-evil",
        "https://perennial.example/webhooks",
        "//evil.example/install/shopify",
        "javascript:alert(1)",
    ],
)
async def test_the_bounce_page_sends_nobody_elsewhere(target: str) -> None:
    async with a_shop() as shop:
        answer = await WEB.handle(loads({"shopify-reload": target}, path="bounce"), shop.pages())
        assert isinstance(answer, Plain)
        assert answer.status == 400


async def test_a_script_with_a_bad_token_is_told_to_try_once_more() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        for header in ("Bearer nonsense", "Basic x", "", f"Bearer {desk(shop).id_token(exp=NOW - 60)}"):
            query = desk(shop).launch()  # a good token in the address does not make up for it
            answer = await WEB.handle(loads(query, authorization=header), pages)
            assert isinstance(answer, Plain)
            assert answer.status == 401
            assert answer.headers == {"X-Shopify-Retry-Invalid-Session-Request": "1"}
        assert pages.installed == []
        good = f"Bearer {desk(shop).id_token()}"
        assert isinstance(await WEB.handle(loads({}, authorization=good), pages), WebPage)


async def test_other_paths_lead_nowhere() -> None:
    async with a_shop() as shop:
        answer = await WEB.handle(loads(desk(shop).launch(), path="callback"), shop.pages())
        assert isinstance(answer, Plain)
        assert answer.status == 404


async def test_no_answer_holds_a_secret() -> None:
    async with a_shop() as shop:
        pages = shop.pages()
        answers = [
            await WEB.handle(loads(desk(shop).launch(id_token=None)), pages),
            await WEB.handle(loads(desk(shop).launch()), pages),
            await WEB.handle(loads({}, authorization="Bearer x"), pages),
        ]
        tokens = [secret.reveal() for secret in pages.installed[0].credentials.values()]
        for secret in (CLIENT_SECRET, *tokens):
            assert not any(secret in repr(answer) for answer in answers)
