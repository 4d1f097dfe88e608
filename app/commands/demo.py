"""`perennial demo`."""

from __future__ import annotations

import asyncio

import click


@click.command()
@click.option("--once", is_flag=True, help="End after the table instead of staying up.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout; words go to stderr."
)
@click.option("--customers", type=click.IntRange(100, 200_000), default=2_000, show_default=True)
@click.option("--orders", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed makes other stores.")
def demo(once: bool, as_json: bool, customers: int, orders: int, seed: int) -> None:
    """Plays the whole main job on three made-up stores and compares with the stores' own books.

    Needs nothing: it starts a database and the stores itself, on this machine only, and removes them at the end.
    """
    from app.demo import DemoSize, run_demo
    from app.demo_show import Show

    try:
        is_ok = asyncio.run(run_demo(DemoSize(customers, orders, seed), Show(as_json=as_json), is_once=once))
    except KeyboardInterrupt:
        is_ok = True
    if not is_ok:
        raise SystemExit(1)
