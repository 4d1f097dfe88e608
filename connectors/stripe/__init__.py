"""Stripe: customers, charges, Checkout sessions, coupons and promotion codes of one account."""

from __future__ import annotations

from connectors.base import Capability, Connector
from connectors.stripe.drafts import EXPLAINS
from connectors.stripe.install import KeyInstall
from connectors.stripe.operator import StripeApp
from connectors.stripe.store import open_store, wrong_settings
from connectors.stripe.web import StripeWeb
from connectors.stripe.webhooks import StripeWebhooks

CONNECTOR = Connector(
    platform="stripe",
    capabilities=frozenset(
        {
            Capability.READ_CUSTOMERS,
            Capability.READ_ORDERS,
            Capability.READ_COUPONS,
            Capability.WRITE_CODES,
            Capability.OPEN_CODES,
            Capability.LIMIT_TO_PRODUCTS,
            Capability.FIRST_TIME_ONLY,
            Capability.WRITE_BIRTHDAY,
            Capability.WEBHOOKS,
            Capability.MAINTENANCE,
        }
    ),
    webhooks=StripeWebhooks(),
    install=KeyInstall(),
    open_store=open_store,
    push_size=250,
    pushes_at_once=2,  # else the account's pace would wait for the last answer of each
    default_settings={"birthday_key": "birthday"},
    explains=EXPLAINS,
    wrong_settings=wrong_settings,
    web=StripeWeb(),
    app_secrets=("webhook_secret", "test_webhook_secret", "thin_webhook_secret", "test_thin_webhook_secret"),
    operators_app=StripeApp(),
)
