"""WooCommerce: keys pasted by the merchant, signed webhooks, page windows, coupons bound to an e-mail."""

from connectors.base import Capability, Connector
from connectors.woocommerce.coupons import PUSH_SIZE
from connectors.woocommerce.install import WooCommerceInstall
from connectors.woocommerce.store import open_store
from connectors.woocommerce.webhooks import WooCommerceWebhooks

CONNECTOR = Connector(
    platform="woocommerce",
    capabilities=frozenset(
        {
            Capability.READ_CUSTOMERS,
            Capability.READ_ORDERS,
            Capability.READ_COUPONS,
            Capability.WRITE_CODES,
            Capability.FREE_SHIPPING,
            Capability.CODES_FOR_GUESTS,
            Capability.CODE_RETURNS_ON_CANCEL,
            Capability.WEBHOOKS,
        }
    ),
    webhooks=WooCommerceWebhooks(),
    install=WooCommerceInstall(),
    open_store=open_store,
    push_size=PUSH_SIZE,
    default_settings={"birthday_key": "birthday"},
)
