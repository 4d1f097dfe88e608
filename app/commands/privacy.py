"""`perennial privacy`: what people ask about their data, and the file that answers them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from app import output
from app.commands.base import DefaultGroup, ask, json_option, store_argument, with_services, yes_option
from storage import privacy as requests
from storage import stores
from storage.privacy import KEPT_DAYS, RequestRow
from sync import privacy as rules
from sync.services import Services

_ASKED = {"export": "what is held about a customer", "erase_store": "the erasure of the store"}


@click.group(cls=DefaultGroup, default="list", short_help="Answer requests about personal data.")
def privacy() -> None:
    """What customers and platforms ask about personal data: `privacy STORE`, `privacy export REQUEST --to FILE`."""


@privacy.command("list")
@store_argument
@json_option
@with_services
async def privacy_list(services: Services, store_id: int, as_json: bool) -> None:
    """List the requests of a store that wait for you, or were answered lately."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await requests.requests_of(connection, store_id)
    if as_json:
        output.document({"store": store_id, "requests": [_document(request) for request in found]})
        return
    rows = [
        (
            str(request.id),
            _ASKED[request.kind],
            request.external_id,
            output.when(request.asked_at, store.time_zone),
            output.when(request.done_at, store.time_zone),
            request.note,
        )
        for request in found
    ]
    output.table([">Request", "Asks for", "Customer", "Asked", "Done", "Note"], rows)
    if not rows:
        output.say("Nobody asked anything.")
    elif any(request.kind == "export" for request in found):
        output.say(
            f"\n`perennial privacy export REQUEST --to FILE` writes what is held, for {KEPT_DAYS} days after the request."
        )


def _document(request: RequestRow) -> dict[str, object]:
    until = request.asked_at + timedelta(days=KEPT_DAYS) if request.kind == "export" else None
    return asdict(request) | {"kept_until": until}


@privacy.command("ask")
@click.argument("member_id", metavar="MEMBER", type=int)
@json_option
@with_services
async def privacy_ask(services: Services, member_id: int, as_json: bool) -> None:
    """Note that a member asked what is held about them, where the platform passes no such requests on."""
    kept = await rules.ask(services, member_id, actor="merchant")
    if as_json:
        output.document({"member": member_id, "requests": kept})
        return
    for number in kept:
        output.say(f"Request {number}: perennial privacy export {number} --to FILE")


@privacy.command("erase")
@click.argument("member_id", metavar="MEMBER", type=int)
@yes_option
@json_option
@with_services
async def privacy_erase(services: Services, member_id: int, yes: bool, as_json: bool) -> None:
    """Forget a member: everything personal goes, for good; points and sums stay without a name."""
    if not yes:
        ask(f"Everything personal of member {member_id} goes and cannot be brought back. Erase it?")
    found = await rules.erase_member(services, member_id, actor="merchant")
    if as_json:
        output.document({"member": member_id, "stores": [store.id for store in found]})
        return
    names = ", ".join(store.name for store in found)
    output.say(f"Member {member_id} is erased.")
    output.say(
        f"Delete them in {names} too: what the store still holds comes back with its next change there."
    )


@privacy.command("export")
@click.argument("request_id", metavar="REQUEST", type=int)
@click.option(
    "--to",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file, which only you can read.",
)
@json_option
def privacy_export(request_id: int, path: Path, as_json: bool) -> None:
    """Write all that is held about the person of a request into a file, to hand it over to them."""
    if path.exists():
        raise click.ClickException(f"{path} is there already; name a new file.")
    found: list[dict[str, Any]] = []
    _export(request_id, found)
    _write(path, found[0])
    if as_json:
        output.document({"request": request_id, "file": str(path)})
        return
    output.say(f"Written to {path}, readable by you alone. Delete it when it is handed over.")


@with_services
async def _export(services: Services, request_id: int, found: list[dict[str, Any]]) -> None:
    found.append(await rules.export(services, request_id, actor="merchant"))


def _write(path: Path, content: dict[str, Any]) -> None:
    """Nobody else may read it, not even for the moment in which it is written; nothing is overwritten."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False, default=_plain)
        file.write("\n")


def _plain(value: Any) -> str:
    return str(value.isoformat())
