"""WooCommerce: keys handed over by the shop or pasted, signed webhooks, page windows, coupons bound to an e-mail."""

from connectors.base import Connector
from connectors.woocommerce.birthdays import wrong_settings
from connectors.woocommerce.coupons import PUSH_SIZE
from connectors.woocommerce.explains import CAPABILITIES, EXPLAINS
from connectors.woocommerce.install import WooCommerceInstall
from connectors.woocommerce.store import open_store
from connectors.woocommerce.web import WooCommerceWeb
from connectors.woocommerce.webhooks import WooCommerceWebhooks

CONNECTOR = Connector(
    platform="woocommerce",
    capabilities=CAPABILITIES,
    webhooks=WooCommerceWebhooks(),
    install=WooCommerceInstall(),
    open_store=open_store,
    push_size=PUSH_SIZE,
    default_settings={"birthday_key": "birthday"},
    explains=EXPLAINS,
    wrong_settings=wrong_settings,
    web=WooCommerceWeb(),
)
