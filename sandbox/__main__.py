"""`python -m sandbox PLATFORM`: one made-up shop on 127.0.0.1 until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import inspect
import json
import signal
from collections.abc import Callable

from sandbox.server import Sandbox
from sandbox.world import Seed, World

_TOTAL_ONLY = {"stripe"}  # shows only what was charged, so its books count points on the total


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("platform", help="a module of this package, e.g. woocommerce")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--no-limiter", action="store_true", help="the platform's rate limiter is off")
    parser.add_argument("--requests-per-second", type=int, help="what the rate limiter lets through")
    parser.add_argument("--points-per-second", type=int, help="the same, where requests cost points")
    parser.add_argument("--prerender", action="store_true", help="answers once written are kept as text")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each answer takes")
    return parser.parse_args()


def sandbox_class(platform: str) -> type[Sandbox]:
    """The stand-in in the module of that name. Raises ModuleNotFoundError or LookupError."""
    if not platform.isidentifier():
        raise LookupError(f"{platform} is no platform's name")
    module = importlib.import_module(f"sandbox.{platform}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, Sandbox) and found.__module__ == module.__name__:
            return found
    raise LookupError(f"sandbox/{platform}.py holds no stand-in")


async def _serve(asked: argparse.Namespace, kind: Callable[..., Sandbox]) -> None:
    world = World(
        Seed(number=asked.seed, customers=asked.customers, orders=asked.orders),
        base_is_total=asked.platform in _TOTAL_ONLY,
    )
    # A stand-in that offers no such thing keeps what it has written anyway.
    offered = inspect.signature(kind).parameters
    given: dict[str, object] = {"prerendered": True} if asked.prerender and "prerendered" in offered else {}
    for name in ("requests_per_second", "points_per_second"):
        if (value := getattr(asked, name)) is not None:
            if name not in offered:
                raise SystemExit(f"The stand-in for {asked.platform!r} counts no {name.replace('_', ' ')}.")
            given[name] = value
    sandbox = kind(world, **given)
    sandbox.limiter_on = not asked.no_limiter
    sandbox.faults.delay_seconds = asked.delay
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await sandbox.start(asked.port)
    # Looking through a whole shop for reference cycles takes a tenth of a second, in which no platform stands still.
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    try:
        print(json.dumps({"url": sandbox.url, "connect": sandbox.connect_answers()}), flush=True)
        await ended.wait()
    finally:
        await sandbox.stop()


def main() -> None:
    """Starts the stand-in and says on one line of JSON where it is and how to connect it."""
    asked = _arguments()
    try:
        kind = sandbox_class(asked.platform)
    except (ModuleNotFoundError, LookupError):
        raise SystemExit(
            f"There is no stand-in for {asked.platform!r}; look into sandbox/ for their names."
        ) from None
    asyncio.run(_serve(asked, kind))


if __name__ == "__main__":
    main()
