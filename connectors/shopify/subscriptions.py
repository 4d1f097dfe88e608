"""Webhook subscriptions through the API.

An app of the shop's own has no deployed shopify.app.toml: all its topics are subscribed here. For an app from the App Store
the TOML says which, and only what cannot be said there is added: that a customer's post shall hold their birthday.
Shopify deletes such subscriptions after eight failures in a row, and knows none for the privacy topics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from connectors.base import Secret
from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerRules
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.webhooks import COMPLIANCE_TOPICS, ShopifyWebhooks
from rewards.errors import RetryLaterError


class _Field(msgspec.Struct, frozen=True):
    namespace: str
    key: str


class _Found(msgspec.Struct):
    id: str
    topic: str
    uri: str
    metafields: list[_Field] = []


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool
    end_cursor: str | None = None


class _Page(msgspec.Struct, rename="camel"):
    nodes: list[_Found]
    page_info: _PageInfo


class _PageData(msgspec.Struct, rename="camel"):
    webhook_subscriptions: _Page


class _Id(msgspec.Struct):
    id: str


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    webhook_subscription: _Id | None = None


class _Outcome(msgspec.Struct):
    result: _Result


# Who subscribes a store's webhooks: the deployed shopify.app.toml, or we through the API.
BY_APP: Mapping[str, str] = {"webhooks": "app"}
BY_API: Mapping[str, str] = {"webhooks": "api"}
_WITH_BIRTHDAY = ("CUSTOMERS_CREATE", "CUSTOMERS_UPDATE")


_OWN_APP = "own_app"  # the client id of an app of the shop's own, where it is known


def by_own_app(client_id: Secret | None) -> dict[str, str]:
    """The settings of a store that an app of its own connects."""
    return {**BY_API, **({_OWN_APP: client_id.reveal()} if client_id else {})}


def is_by_app(settings: Mapping[str, str], client_id: Secret | None = None) -> bool:
    """Whether a store of these settings is connected by the operator's app, or, given its client id, by the very same.

    False: by an app of the shop's own.
    """
    is_same = client_id is not None and settings.get(_OWN_APP) == client_id.reveal()
    return is_same or not BY_API.items() <= settings.items()


def api_topics(settings: Mapping[str, str]) -> list[str]:
    """The topics that a store's settings have us subscribe through the API, in its own spelling: ORDERS_PAID."""
    if BY_APP.items() <= settings.items():
        return list(_WITH_BIRTHDAY)
    return sorted(
        topic.replace("/", "_").upper() for topic in ShopifyWebhooks.topics if topic not in COMPLIANCE_TOPICS
    )


async def subscribe(
    client: ShopifyClient, address: str, topics: Sequence[str], rules: CustomerRules
) -> list[str]:
    """Makes the subscriptions at `address` exactly these topics; their ids."""
    missing, kept = set(topics), []
    for found in await _at(client, address):
        if found.topic in missing and found.metafields == _fields(found.topic, rules):
            missing.discard(found.topic)
            kept.append(found.id)
        else:
            await _delete(client, found)
    return kept + [await _create(client, topic, address, rules) for topic in sorted(missing)]


async def is_subscribed(
    client: ShopifyClient, address: str, topics: Sequence[str], rules: CustomerRules
) -> bool:
    """True when all these topics are subscribed at `address`, with the birthdays that are read now."""
    found = await _at(client, address)
    return {each.topic for each in found if each.metafields == _fields(each.topic, rules)}.issuperset(topics)


def _fields(topic: str, rules: CustomerRules) -> list[_Field]:
    return [_Field(rules.namespace, rules.key)] if topic in _WITH_BIRTHDAY else []


async def unsubscribe(client: ShopifyClient, address: str) -> None:
    """Deletes all our subscriptions at `address`."""
    for found in await _at(client, address):
        await _delete(client, found)


async def _at(client: ShopifyClient, address: str) -> Sequence[_Found]:
    found: list[_Found] = []
    after: str | None = None
    while True:
        data = await client.call("webhooks_page", {"first": 100, "after": after}, _PageData)
        page = data.webhook_subscriptions
        found.extend(node for node in page.nodes if node.uri == address)
        if not page.page_info.has_next_page:
            return found
        after = page.page_info.end_cursor


async def _create(client: ShopifyClient, topic: str, address: str, rules: CustomerRules) -> str:
    content: dict[str, object] = {"uri": address, "format": "JSON", "metafields": _fields(topic, rules)}
    data = await client.call("webhook_create", {"topic": topic, "webhookSubscription": content}, _Outcome)
    if data.result.user_errors:
        raise refusal(data.result.user_errors)
    if data.result.webhook_subscription is None:
        raise RetryLaterError("Shopify did not say which webhook it has set up.")
    return data.result.webhook_subscription.id


async def _delete(client: ShopifyClient, found: _Found) -> None:
    """Deleting what is gone already is no failure."""
    await client.call("webhook_delete", {"id": found.id}, _Outcome)
