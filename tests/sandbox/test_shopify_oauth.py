"""The stand-in lets apps in as shopify.dev says Shopify does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from sandbox.shopify_oauth import TOKEN_EXCHANGE, DeniedError, OAuthDesk, query_hmac

SECRET = "shpss_of_the_tests_0123456789abcdef0123"
EXCHANGE = {
    "grant_type": TOKEN_EXCHANGE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
}


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock: Clock) -> OAuthDesk:
    return OAuthDesk("a-shop.myshopify.com", "client", [SECRET], ["write_customers", "read_orders"], clock)


def ask(desk: OAuthDesk, **asked: str) -> dict[str, object]:
    return desk.answer({"client_id": "client", "client_secret": SECRET} | asked)


def exchange(desk: OAuthDesk, **changed: str) -> dict[str, object]:
    return ask(desk, **(EXCHANGE | {"subject_token": desk.id_token(), "expiring": "1"} | changed))


def denied(desk: OAuthDesk, **asked: str) -> str:
    with pytest.raises(DeniedError) as caught:
        ask(desk, **asked)
    return caught.value.error


def test_an_id_token_is_a_jwt_that_another_library_accepts(desk: OAuthDesk) -> None:
    claims = jwt.decode(desk.id_token(), SECRET, algorithms=["HS256"], audience="client")
    assert claims["iss"] == "https://a-shop.myshopify.com/admin"
    assert claims["dest"] == "https://a-shop.myshopify.com"
    assert claims["exp"] - claims["iat"] == 60
    assert claims.keys() == {"iss", "dest", "aud", "sub", "exp", "nbf", "iat", "jti", "sid"}


def test_the_admins_link_is_signed_over_its_percent_encoded_pairs(desk: OAuthDesk) -> None:
    """Worked out with openssl: printf 'a=%%2B%%2F%%3D&shop=x%%20y' | openssl dgst -sha256 -hmac hush."""
    wanted = "8a9137161d5b60c09c76e360df966ba414affa3f319bdd9cf7b43b7812d6efce"
    assert query_hmac({"shop": "x y", "a": "+/=", "hmac": "not covered"}, "hush") == wanted
    launch = desk.launch()
    assert launch.keys() == {"embedded", "host", "locale", "session", "shop", "timestamp", "id_token", "hmac"}
    assert "id_token" not in desk.launch(id_token=None)


def test_an_expiring_token_lives_an_hour_and_its_refresh_token_ninety_days(
    desk: OAuthDesk, clock: Clock
) -> None:
    pair = exchange(desk)
    assert (pair["expires_in"], pair["refresh_token_expires_in"]) == (3_600, 90 * 86_400)
    assert desk.opens(str(pair["access_token"]))
    clock.now += timedelta(minutes=61)
    assert not desk.opens(str(pair["access_token"]))
    again = ask(desk, grant_type="refresh_token", refresh_token=str(pair["refresh_token"]))
    assert desk.opens(str(again["access_token"]))
    assert again["refresh_token"] != pair["refresh_token"]
    clock.now += timedelta(days=91)
    assert (
        denied(desk, grant_type="refresh_token", refresh_token=str(again["refresh_token"])) == "invalid_grant"
    )


def test_without_expiring_the_token_lasts(desk: OAuthDesk, clock: Clock) -> None:
    lasting = exchange(desk, expiring="0")
    assert lasting.keys() == {"access_token", "scope"}
    clock.now += timedelta(days=400)
    assert desk.opens(str(lasting["access_token"]))


def test_the_endpoint_refuses_in_oauths_words(desk: OAuthDesk, clock: Clock) -> None:
    stale = desk.id_token()
    clock.now += timedelta(minutes=2)
    assert denied(desk, **EXCHANGE, subject_token=stale) == "invalid_subject_token"
    other_shop = desk.id_token(dest="https://other.myshopify.com")
    assert denied(desk, **EXCHANGE, subject_token=other_shop) == "invalid_subject_token"
    assert denied(desk, grant_type="password") == "unsupported_grant_type"
    assert denied(desk, grant_type="client_credentials", client_secret="wrong") == "invalid_client"
    desk.uninstall()
    assert denied(desk, grant_type="client_credentials") == "invalid_client"


def test_writing_implies_reading_in_what_is_listed(desk: OAuthDesk) -> None:
    assert desk.granted_scopes == ["read_customers", "read_orders", "write_customers"]
