"""WooCommerce's webhooks: pings, bodies built late, one delivery waiting per webhook and resource, no retries."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from sandbox.server import Faults, Hooks, Post
from sandbox.woocommerce_coupons import Problem
from sandbox.woocommerce_host import Host
from sandbox.woocommerce_records import Json

_HOOKS = {
    "order.created": ["woocommerce_new_order"],
    "order.updated": ["woocommerce_update_order", "woocommerce_order_refunded"],
    "order.deleted": ["wp_trash_post", "woocommerce_trash_order"],
    "order.restored": ["untrashed_post", "woocommerce_untrash_order"],
    "customer.created": ["user_register", "woocommerce_created_customer", "woocommerce_new_customer"],
    "customer.updated": ["profile_update", "woocommerce_update_customer"],
    "customer.deleted": ["delete_user"],
    "coupon.created": ["woocommerce_process_shop_coupon_meta", "woocommerce_new_coupon"],
    "coupon.updated": ["woocommerce_process_shop_coupon_meta", "woocommerce_update_coupon"],
    "coupon.deleted": ["wp_trash_post"],
    "coupon.restored": ["untrashed_post"],
}


@dataclass
class Webhook:
    """One webhook; a topic, an address, and how its deliveries have gone."""

    id: int
    name: str
    topic: str
    address: str
    secret: str
    created: datetime
    modified: datetime | None = None
    status: str = "active"
    failures: int = 0
    was_pinged: bool = False


class WooHooks(Hooks):
    """The background queue. `build` makes a body when it is delivered, so it shows the latest state.

    `delay_seconds` stands for the time until the queue runs; real shops take from seconds to hours.
    """

    MOST_FAILURES = 5

    def __init__(
        self,
        faults: Faults,
        build: Callable[[str, int], Json],
        clock: Callable[[], datetime],
        host: Host,
    ) -> None:
        super().__init__(faults, retries=0)
        self.webhooks: dict[int, Webhook] = {}
        self.source = ""
        self.delay_seconds = 0.02
        self._build = build
        self._clock = clock
        self._host = host
        self._pending: set[tuple[int, int]] = set()
        self._next_id = 1

    # -- the API's side ----------------------------------------------------------------------------------------------

    async def create(self, body: Mapping[str, Any]) -> Webhook:
        """Makes a webhook and waits for its ping's answer, whatever that is."""
        topic, address = str(body.get("topic", "")), str(body.get("delivery_url", ""))
        if topic not in _HOOKS:
            raise Problem(
                400,
                "woocommerce_rest_shop_webhook_invalid_topic",
                "Webhook topic is required and must be valid.",
            )
        if not address.startswith(("http://", "https://")):
            raise Problem(
                400,
                "woocommerce_rest_shop_webhook_invalid_delivery_url",
                "Webhook delivery URL must be a valid URL starting with http:// or https://.",
            )
        now = self._clock()
        name = str(body.get("name") or f"Webhook created on {now:%b %d, %Y @ %I:%M %p}")
        hook = Webhook(self._next_id, name, topic, address, str(body.get("secret") or "unreadable"), now)
        self._next_id += 1
        self.webhooks[hook.id] = hook
        await self._ping(hook)
        return hook

    async def update(self, hook: Webhook, body: Mapping[str, Any]) -> None:
        """Changes a webhook. Switching it on again does not set its counter back."""
        hook.status = str(body.get("status", hook.status))
        hook.address = str(body.get("delivery_url", hook.address))
        hook.secret = str(body.get("secret", hook.secret))
        hook.modified = self._clock()
        await self._ping(hook)

    def json(self, hook: Webhook, dates: Callable[[str, datetime | None], Json], item_links: Json) -> Json:
        """As the API shows it: the secret is never told."""
        resource, _, event = hook.topic.partition(".")
        return {
            "id": hook.id,
            "name": hook.name,
            "status": hook.status,
            "topic": hook.topic,
            "resource": resource,
            "event": event,
            "hooks": _HOOKS[hook.topic],
            "delivery_url": hook.address,
            **dates("date_created", hook.created),
            **dates("date_modified", hook.modified),
            "_links": item_links,
        }

    async def _ping(self, hook: Webhook) -> None:
        """The unsigned form post; sent at each save until it is answered with exactly 200."""
        if hook.was_pinged or not self._host.calls(hook.address):
            return
        async with self.session(5) as session:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(hook.address, data={"webhook_id": str(hook.id)}) as answer:
                    hook.was_pinged = answer.status == 200

    # -- the queue's side --------------------------------------------------------------------------------------------

    def happened(self, number: int, *topics: str) -> None:
        """Queues a delivery for each active webhook of these topics, unless one for this resource waits already."""
        for hook in self.webhooks.values():
            if hook.topic in topics and hook.status == "active" and (hook.id, number) not in self._pending:
                self._pending.add((hook.id, number))
                task = asyncio.get_running_loop().create_task(self._run(hook, number))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, hook: Webhook, number: int) -> None:
        await asyncio.sleep(self.delay_seconds)
        self._pending.discard((hook.id, number))
        if hook.status == "active":
            self.send(self._post(hook, number))

    def _post(self, hook: Webhook, number: int) -> Post:
        resource, _, event = hook.topic.partition(".")
        content = {"id": number} if event == "deleted" else self._build(resource, number)
        # PHP escapes slashes and everything beyond ASCII.
        body = json.dumps(content, separators=(",", ":")).replace("/", "\\/").encode()
        signature = base64.b64encode(hmac.digest(hook.secret.encode(), body, hashlib.sha256)).decode()
        # A hash of the webhook and the current second: several deliveries within one second share it.
        delivery_id = hashlib.md5(
            f"{hook.id}{int(self._clock().timestamp())}".encode(), usedforsecurity=False
        ).hexdigest()
        headers = {
            "User-Agent": "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)",
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": self.source,
            "X-WC-Webhook-Topic": hook.topic,
            "X-WC-Webhook-Resource": resource,
            "X-WC-Webhook-Event": event,
            "X-WC-Webhook-Signature": signature,
            "X-WC-Webhook-ID": str(hook.id),
            "X-WC-Webhook-Delivery-ID": delivery_id,
            "Connection": "close",
        }
        parts = [hook.topic.encode(), body] + ([delivery_id.encode()] if event == "deleted" else [])
        return Post(hook.address, headers, body, hashlib.sha256(b"\n".join(parts)).hexdigest())

    async def _try(self, post: Post) -> int:
        return await super()._try(post) if self._host.calls(post.url) else 0

    def _settled(self, post: Post, status: int) -> bool:
        """Counts failures per webhook; the seventh in a row switches it off without a word."""
        received = 200 <= status < 300 or status in (301, 302)
        hook = self.webhooks.get(int(post.headers["X-WC-Webhook-ID"])) if post.key else None
        if hook is not None and received:
            hook.failures = 0
        elif hook is not None and hook.failures > self.MOST_FAILURES:
            hook.status, hook.modified = "disabled", self._clock()
        elif hook is not None:
            hook.failures += 1
        return super()._settled(post, status)
