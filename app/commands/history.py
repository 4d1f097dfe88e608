"""`perennial deliveries` and `audit`: which webhooks came, and who changed what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from app import output
from app.commands.base import json_option, store_argument, with_services
from storage import audit as events
from storage import deliveries as inbox
from storage import stores
from sync.services import Services

SHOWN = 50
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=SHOWN, show_default=True, help="At most so many, newest first."
)


@click.command(short_help="List the webhooks that came, and what became of them.")
@store_argument
@click.option("--broken", is_flag=True, help="Only those that could not be read and are not tried again.")
@limit_option
@json_option
@with_services
async def deliveries(services: Services, store_id: int, broken: bool, limit: int, as_json: bool) -> None:
    """List the webhooks that came from a store and what became of them; never what was in them."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        counts = await inbox.counts(connection, store_id)
        found = await inbox.latest(connection, store_id, state="broken" if broken else None, limit=limit)
    if as_json:
        output.document({"store": store_id, "counts": counts, "deliveries": [asdict(row) for row in found]})
        return
    rows = [
        (
            str(row.id),
            output.when(row.received_at, store.time_zone),
            row.topic,
            row.state,
            output.when(row.handled_at, store.time_zone),
            row.note,
        )
        for row in found
    ]
    output.table([">Delivery", "Received", "Topic", "State", "Handled", "Note"], rows)
    said = ", ".join(f"{output.number(posts)} {state}" for state, posts in counts.items())
    output.say(
        f"\nIn all: {said}."
        if rows
        else f"{'None is broken' if broken else 'None came yet'}. In all: {said}."
    )


@click.command()
@store_argument
@limit_option
@json_option
@with_services
async def audit(services: Services, store_id: int, limit: int, as_json: bool) -> None:
    """List who changed what in a store and its program."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await events.of_store(connection, store.program_id, store_id, limit)
    if as_json:
        output.document({"store": store_id, "events": [asdict(event) for event in found]})
        return
    rows = [
        (
            output.when(event.at, store.time_zone),
            event.actor,
            event.action,
            event.subject,
            _words(event.detail),
        )
        for event in found
    ]
    output.table(["When", "Who", "What", "Subject", "Detail"], rows)
    output.say(
        f"\nTimes are those of {store.name} ({store.time_zone})." if rows else "Nothing was changed yet."
    )


def _words(detail: Mapping[str, Any]) -> str:
    """What an event holds, on one line; what is empty is left out."""
    said = []
    for name, value in detail.items():
        if isinstance(value, Mapping):
            value = _words(value)
        if value not in (None, "", {}, []):
            said.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(said)
