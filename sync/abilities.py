"""What a store can give: a reward that its platform cannot do is left out there, with the reason in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connectors.base import Capability, Connector
from connectors.besides import ChecksBenefits
from rewards.errors import InvalidInputError, PlatformError
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms
from storage import coupons, stores
from storage.coupons import StoreCoupon
from storage.database import Connection
from storage.stores import StoreRow
from sync.facts import ask_for_facts
from sync.services import Services


@dataclass(frozen=True, slots=True)
class StoreNote:
    """What the merchant should know of a reward in one store. `is_left_out`: nobody gets it there."""

    store_id: int
    store_name: str
    is_left_out: bool
    note: str


@dataclass(frozen=True, slots=True)
class _Need:
    """What terms need of a platform, and what is said where it names no reason of its own."""

    capability: Capability
    applies: Callable[[RewardTerms], bool]
    otherwise: str


_NEEDS = (
    _Need(Capability.WRITE_CODES, lambda terms: not terms.benefit.is_value, "Codes cannot be put into it."),
    _Need(
        Capability.STORE_CREDIT,
        lambda terms: terms.benefit.kind is BenefitKind.STORE_CREDIT,
        "It has no store credit that we could give; give an amount or a percentage.",
    ),
    _Need(
        Capability.GIFT_CARDS,
        lambda terms: terms.benefit.kind is BenefitKind.GIFT_CARD,
        "It has no gift cards that we could make; give an amount or a percentage.",
    ),
    _Need(
        Capability.OPEN_CODES,
        lambda terms: terms.binding is Binding.OPEN and not terms.benefit.is_value,
        "It has no single-use codes for whoever holds them; choose --binding bound.",
    ),
    _Need(
        Capability.FREE_SHIPPING,
        lambda terms: terms.benefit.kind is BenefitKind.FREE_SHIPPING,
        "It has no free shipping by code; give a percentage or an amount.",
    ),
    _Need(
        Capability.FREE_PRODUCT,
        lambda terms: terms.benefit.kind is BenefitKind.FREE_PRODUCT,
        "It has no free product by code; give a percentage or an amount.",
    ),
    _Need(
        Capability.LIMIT_TO_PRODUCTS,
        lambda terms: (
            bool(terms.benefit.product_external_ids) and terms.benefit.kind is not BenefitKind.FREE_PRODUCT
        ),
        "Its codes cannot be limited to products; leave --product out.",
    ),
    _Need(
        Capability.LIMIT_TO_COLLECTIONS,
        lambda terms: bool(terms.benefit.collection_external_ids),
        "Its codes cannot be limited to collections; leave --collection out.",
    ),
    _Need(
        Capability.FIRST_TIME_ONLY,
        lambda terms: terms.benefit.first_time_only,
        "Its codes cannot be limited to first orders; leave --first-time out.",
    ),
    _Need(
        Capability.COMBINES,
        lambda terms: terms.combines,
        "Its codes cannot be used together with other discounts; leave --combines out.",
    ),
)


def _needs_of(terms: RewardTerms) -> list[_Need]:
    return [need for need in _NEEDS if need.applies(terms)]


def why_not(
    store: StoreRow, connector: Connector, terms: RewardTerms, coupon: StoreCoupon | None
) -> str | None:
    """Why the store cannot give a reward with these terms, in words for the merchant; None when it can.

    `coupon` is what the terms' `coupon_id` names, where they name one.
    """
    if terms.coupon_id is not None:
        if coupon is None or coupon.store_id != store.id:
            return "Its coupon is one of another store; add a reward for this one."
        return None
    lacks = connector.lacks(store.settings)
    for need in _needs_of(terms):
        if need.capability not in connector.capabilities:
            return connector.explains.get(need.capability, need.otherwise)
        if need.capability in lacks:
            return lacks[need.capability]
    benefit = terms.benefit
    has_amount = benefit.kind is BenefitKind.AMOUNT or benefit.is_value or bool(benefit.minimum_minor)
    if has_amount and (benefit.currency or "").upper() != store.currency.upper():
        return f"It sells in {store.currency.upper()}: give the amount in it, or a percentage."
    return connector.refuses(benefit, store.settings)


async def check(services: Services, connection: Connection, program_id: int, terms: RewardTerms) -> None:
    """Raises InvalidInputError when none of the program's stores can give it."""
    notes = [note for note in await notes_for(services, connection, program_id, terms) if note.is_left_out]
    if notes and len(notes) == len(await _stores(connection, program_id)):
        raise InvalidInputError(" ".join(f"The store {note.store_name}: {note.note}" for note in notes))


async def check_what_is_named(services: Services, program_id: int, terms: RewardTerms) -> None:
    """Raises InvalidInputError when the benefit names something that no store has which could give it.

    The stores are asked, so this is done outside of a transaction. One that does not answer is given the benefit of the
    doubt: its codes are compared with what was asked when they are made.
    """
    benefit = terms.benefit
    if terms.coupon_id is not None or not (benefit.product_external_ids or benefit.collection_external_ids):
        return
    async with services.database.transaction() as connection:
        found = await _stores(connection, program_id)
    able = [store for store in found if why_not(store, services.connector(store), terms, None) is None]
    lacks = [await _lacks(services, store, benefit) for store in able]
    if lacks and all(lacks):
        raise InvalidInputError(
            " ".join(
                f"The store {store.name} has no {', no '.join(missing)}: look up the number there and give it again."
                for store, missing in zip(able, lacks, strict=True)
            )
        )


async def _lacks(services: Services, store: StoreRow, benefit: Benefit) -> Sequence[str]:
    if store.status != "active":
        return ()
    try:
        platform = services.open_store(store)
        return await platform.missing(benefit) if isinstance(platform, ChecksBenefits) else ()
    except PlatformError:
        return ()


async def ask_stores(services: Services, program_id: int, terms: RewardTerms) -> None:
    """Has stores that lacked what the terms need say anew what they have: the merchant may have given it just now."""
    async with services.database.transaction() as connection:
        found = await _stores(connection, program_id)
    for store in found:
        lacks = services.connector(store).lacks(store.settings)
        if store.status == "active" and any(need.capability in lacks for need in _needs_of(terms)):
            await ask_for_facts(services, store)


async def notes_for(
    services: Services, connection: Connection, program_id: int, terms: RewardTerms
) -> list[StoreNote]:
    """Which stores are left out and why; for the others, what the choice of who can use a code means there."""
    coupon = await coupon_of(connection, program_id, terms)
    found = []
    for store in await _stores(connection, program_id):
        connector = services.connector(store)
        reason = why_not(store, connector, terms, coupon)
        lines = [reason] if reason is not None else _meanings(connector, terms)
        found += [StoreNote(store.id, store.name, reason is not None, line) for line in lines]
    return found


async def coupon_of(connection: Connection, program_id: int, terms: RewardTerms) -> StoreCoupon | None:
    """The store's own coupon that the terms give; None for a reward with codes of its own."""
    return None if terms.coupon_id is None else await coupons.by_id(connection, program_id, terms.coupon_id)


def takes_guests(capabilities: frozenset[Capability], terms: RewardTerms) -> bool:
    """True where also members without an account in the store can be given a code; credit goes into an account."""
    if terms.benefit.kind is BenefitKind.STORE_CREDIT:
        return False
    return terms.binding is Binding.OPEN or Capability.CODES_FOR_GUESTS in capabilities


def _meanings(connector: Connector, terms: RewardTerms) -> list[str]:
    """What the merchant's choices mean on this platform, in its words where it has some."""
    explains: Mapping[Capability | Binding, str] = connector.explains
    if terms.coupon_id is not None:
        limit = Capability.SHARED_LIMIT_PER_CUSTOMER
        otherwise = "Everybody who knows the code can use it, and as often as the coupon allows."
        return [explains[limit]] if limit in explains else [otherwise] * (limit not in connector.capabilities)
    is_code = not terms.benefit.is_value
    said = [explains[terms.binding]] if is_code and terms.binding in explains else []
    said += [explains[need.capability] for need in _needs_of(terms) if need.capability in explains]
    if is_code and not takes_guests(connector.capabilities, terms):
        otherwise = "Members without an account in this store get no code; --binding open would reach them."
        said.append(explains.get(Capability.CODES_FOR_GUESTS, otherwise))
    return said


async def _stores(connection: Connection, program_id: int) -> list[StoreRow]:
    return [
        store
        for store in await stores.every(connection)
        if store.program_id == program_id and store.status != "uninstalled"
    ]
