"""Shopify, Admin API 2026-10. See README.md for sources and surprises."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.base import Capability, Connector
from connectors.shopify import values
from connectors.shopify.access import APP_SECRETS
from connectors.shopify.customers import ACCOUNTS, BIRTHDAY_FIELD, EVERY, STANDARD_BIRTHDAY
from connectors.shopify.discount_inputs import EXPLAINS, OPEN_PUSH_SIZE, why_not_benefit
from connectors.shopify.install import ShopifyInstall
from connectors.shopify.store import ShopifyStore, wrong_settings
from connectors.shopify.subscriptions import is_by_app
from connectors.shopify.web import ShopifyWeb
from connectors.shopify.webhooks import ShopifyWebhooks
from rewards.records import Benefit


def refuses(benefit: Benefit, settings: Mapping[str, str]) -> str | None:
    """Why Shopify, or this shop, cannot give this; None when it can."""
    return values.why_not_value(benefit, settings) if benefit.is_value else why_not_benefit(benefit)


CONNECTOR = Connector(
    platform="shopify",
    # A bound code needs a customer record (none for guests), and a cancelled order keeps its code used.
    capabilities=frozenset(
        {
            Capability.READ_CUSTOMERS,
            Capability.READ_ORDERS,
            Capability.READ_COUPONS,
            Capability.WRITE_CODES,
            Capability.OPEN_CODES,
            Capability.FREE_SHIPPING,
            Capability.FREE_PRODUCT,
            Capability.LIMIT_TO_PRODUCTS,
            Capability.LIMIT_TO_COLLECTIONS,
            Capability.COMBINES,
            Capability.SHARED_LIMIT_PER_CUSTOMER,
            Capability.STORE_CREDIT,
            Capability.GIFT_CARDS,
            Capability.WRITE_BIRTHDAY,
            Capability.SHOW_POINTS,
            Capability.WEBHOOKS,
            Capability.MAINTENANCE,
        }
    ),
    webhooks=ShopifyWebhooks(),
    install=ShopifyInstall(),
    open_store=ShopifyStore,
    push_size=50,
    open_push_size=OPEN_PUSH_SIZE,
    default_settings={BIRTHDAY_FIELD: STANDARD_BIRTHDAY, ACCOUNTS: EVERY},
    explains={**EXPLAINS, **values.EXPLAINS},
    refuses=refuses,
    lacks=values.lacks,
    wrong_settings=wrong_settings,
    web=ShopifyWeb(),
    app_secrets=APP_SECRETS,
    app_signs=is_by_app,
)
