"""How each kind of post is answered, and what is kept of it: by the lane and by Quart alike."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator

import pytest

from storage import stores
from storage.database import Database
from storage.secrets import SecretBox
from tests.webhooks.posts import PLATFORM, Poster, Shop, Woken, inbox, install, order, signed, until
from webhooks.accept import AcceptLimits, Acceptor

LIMIT = AcceptLimits().body_bytes


async def test_a_genuine_post_is_kept_as_it_came(post: Poster, shop: Shop, database: Database) -> None:
    body = order(1)
    headers = {**signed(shop, body), "Cookie": "a=b", "X-Forwarded-For": "192.0.2.1"}
    status, _, _ = await post(shop.path, body, headers)
    assert status == 200
    (row,) = await inbox(database)
    assert row["store_id"] == shop.id
    assert row["body"] == body
    assert row["topic"] == "order.updated"
    assert row["state"] == "waiting"
    assert row["attempts"] == 0
    assert row["headers"]["x-wc-webhook-topic"] == "order.updated"
    assert not row["headers"].keys() & {"cookie", "x-forwarded-for", "host"}


async def test_a_repeat_is_answered_200_and_kept_once(post: Poster, shop: Shop, database: Database) -> None:
    body = order(1)
    answers = [(await post(shop.path, body, signed(shop, body)))[0] for _ in range(3)]
    assert answers == [200, 200, 200]
    assert len(await inbox(database)) == 1


async def test_the_same_post_to_two_stores_is_kept_for_each(
    post: Poster, shop: Shop, other_shop: Shop, database: Database
) -> None:
    body = order(1)
    for each in (shop, other_shop):
        assert (await post(each.path, body, signed(each, body)))[0] == 200
    found = await inbox(database)
    assert {row["store_id"] for row in found} == {shop.id, other_shop.id}
    assert len({row["delivery_key"] for row in found}) == 1


async def test_one_stores_signature_does_not_open_another(
    post: Poster, shop: Shop, other_shop: Shop, database: Database
) -> None:
    body = order(1)
    assert (await post(other_shop.path, body, signed(shop, body)))[0] == 401
    assert await inbox(database) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("secret", 401),
        ("body", 401),
        ("no signature", 401),
        ("token", 404),
        ("no token", 400),
        ("platform", 404),
    ],
)
async def test_a_wrong_post_is_refused_and_not_kept(
    post: Poster, shop: Shop, database: Database, acceptor: Acceptor, change: str, status: int
) -> None:
    body = order(1)
    headers, path = signed(shop, body, secret="guessed" if change == "secret" else None), shop.path
    if change == "body":
        body += b" "
    if change == "no signature":
        del headers["X-WC-Webhook-Signature"]
    if change == "token":
        path += "x"
    if change == "no token":
        path = f"/webhooks/{PLATFORM}"
    if change == "platform":
        path = f"/webhooks/elsewhere/{shop.token}"
    found, text, _ = await post(path, body, headers)
    assert found == status
    assert "shopper" not in text
    assert shop.token not in text
    assert await inbox(database) == []
    assert acceptor.counts == {("unknown" if change == "platform" else PLATFORM, status): 1}


async def test_a_body_over_the_limit_is_refused_with_the_limit(
    post: Poster, shop: Shop, database: Database
) -> None:
    body = b" " * (LIMIT + 1)
    status, text, _ = await post(shop.path, io.BytesIO(body), signed(shop, body))
    assert status == 413
    assert str(LIMIT) in text
    assert await inbox(database) == []


async def test_a_body_of_exactly_the_limit_is_kept(post: Poster, shop: Shop, database: Database) -> None:
    body = b" " * LIMIT
    assert (await post(shop.path, io.BytesIO(body), signed(shop, body)))[0] == 200
    assert len(await inbox(database)) == 1


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(post: Poster, shop: Shop) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):  # far more than the limit, were all of it taken
            sent += 1
            yield b" " * LIMIT

    try:
        status, _, _ = await post(shop.path, endless(), signed(shop, b""))
    except (ConnectionError, OSError):
        status = 413  # the server hung up while the rest was on its way
    assert status == 413
    assert sent < 64


async def test_another_method_is_answered_405(post: Poster, shop: Shop, acceptor: Acceptor) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        status, _, headers = await post(shop.path, method=method)
        assert status == 405
        assert headers["Allow"] == "POST"
    assert acceptor.counts == {(PLATFORM, 405): 3}


async def test_a_ping_is_answered_200_and_not_kept(post: Poster, shop: Shop, database: Database) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await post(shop.path, b"webhook_id=1", headers))[0] == 200
    assert await inbox(database) == []


async def test_broken_json_with_a_good_signature_is_kept(
    post: Poster, shop: Shop, database: Database
) -> None:
    body = order(1)[:-5]
    assert (await post(shop.path, body, signed(shop, body)))[0] == 200
    (row,) = await inbox(database)
    assert row["body"] == body
    with pytest.raises(json.JSONDecodeError):
        json.loads(row["body"])


async def test_an_uninstalled_store_still_takes_posts(post: Poster, shop: Shop, database: Database) -> None:
    async with database.transaction() as connection:
        await stores.set_status(connection, shop.id, "uninstalled", None)
        await connection.execute("UPDATE stores SET credentials = NULL WHERE id = %s", (shop.id,))
    body = order(1)
    assert (await post(shop.path, body, signed(shop, body)))[0] == 200


async def test_a_store_without_a_secret_takes_nothing(post: Poster, shop: Shop, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("UPDATE stores SET webhook_secrets = NULL WHERE id = %s", (shop.id,))
    body = order(1)
    assert (await post(shop.path, body, signed(shop, body)))[0] == 401


async def test_a_new_secret_is_taken_although_the_old_one_is_remembered(
    post: Poster, shop: Shop, database: Database, secret_box: SecretBox
) -> None:
    first = order(1)
    assert (await post(shop.path, first, signed(shop, first)))[0] == 200
    async with database.transaction() as connection:
        await stores.keep_secrets(connection, secret_box, shop.id, webhook_secrets=["newer", shop.secret])
    second = order(2)

    async def newer_is_taken() -> bool:
        return (await post(shop.path, second, signed(shop, second, secret="newer")))[0] == 200

    # Once what is remembered is a second old, long before it would be forgotten.
    await until(newer_is_taken, seconds=3)
    third = order(3)
    assert (await post(shop.path, third, signed(shop, third)))[0] == 200


async def test_a_store_that_was_unknown_a_moment_ago_is_found(
    post: Poster, database: Database, secret_box: SecretBox
) -> None:
    body = order(1)
    early = Shop(0, 0, "token-late", "secret of late")
    assert (await post(early.path, body, signed(early, body)))[0] == 404
    late = await install(database, secret_box, "late")

    async def is_taken() -> bool:
        return (await post(late.path, body, signed(late, body)))[0] == 200

    await until(is_taken, seconds=3)
    assert len(await inbox(database)) == 1


async def test_other_paths_reach_the_pages(post: Poster) -> None:
    assert (await post("/page", method="GET"))[:2] == (200, "a page")
    for path in ("/webhooks/", "/webhooks", "/webhooks/a/b/c", "/webhooksx"):
        assert (await post(path))[0] == 404


async def test_a_kept_post_wakes_its_stores_drain(post: Poster, shop: Shop, woken: Woken) -> None:
    body = order(1)
    await post(shop.path, body, signed(shop, body))
    await until(woken.at_all)
    assert woken.asked == [("drain", shop.id)]


async def test_logs_hold_nothing_of_a_post(
    post: Poster, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    body = order(1, email="someone@people.example")
    await post(shop.path, body, signed(shop, body))
    await post(shop.path, body, signed(shop, body, secret="guessed"))
    await post(shop.path, body[:-3], signed(shop, body[:-3]))
    assert "someone" not in caplog.text
    assert shop.secret not in caplog.text
