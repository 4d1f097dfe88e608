"""Shopify, Admin API 2026-10. See README.md for sources and surprises."""

from __future__ import annotations

from connectors.base import Capability, Connector
from connectors.shopify.install import ShopifyInstall
from connectors.shopify.store import ShopifyStore
from connectors.shopify.web import ShopifyWeb
from connectors.shopify.webhooks import ShopifyWebhooks

CONNECTOR = Connector(
    platform="shopify",
    # A bound code needs a customer record (no codes for guests), and a cancelled order keeps its code used.
    capabilities=frozenset(
        {
            Capability.READ_CUSTOMERS,
            Capability.READ_ORDERS,
            Capability.READ_COUPONS,
            Capability.WRITE_CODES,
            Capability.FREE_SHIPPING,
            Capability.WEBHOOKS,
            Capability.MAINTENANCE,
        }
    ),
    webhooks=ShopifyWebhooks(),
    install=ShopifyInstall(),
    open_store=ShopifyStore,
    push_size=50,
    web=ShopifyWeb(),
)
