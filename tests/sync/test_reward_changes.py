"""Rewards are made and changed in versions, and only as the program's stores can do them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.base import Capability
from rewards.errors import InvalidInputError, NotFoundError
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms
from storage import rewards
from sync import abilities, occasions
from sync.reward_changes import change_reward, create_reward
from sync.services import Services
from tests.factories import make_program, make_store, new_store
from tests.sync.shops import TEN_PERCENT, Clock, rows

FIVE_EUR = RewardTerms(Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR"))


async def program_with(services: Services, platform: str, currency: str = "EUR") -> int:
    """A program with one store of this platform."""
    async with services.database.transaction() as connection:
        program_id = await make_program(connection)
        await make_store(connection, program_id, platform=platform, currency=currency)
    return program_id


async def test_every_change_is_a_version_with_its_trace(services: Services, clock: Clock) -> None:
    program_id = await program_with(services, "woocommerce")
    made = await create_reward(
        services, program_id, name=" Birthday ", trigger="birthday", terms=TEN_PERCENT, actor="merchant"
    )
    clock.pass_days(1)
    dearer = replace(TEN_PERCENT, benefit=replace(TEN_PERCENT.benefit, basis_points=2_000))
    changed = await change_reward(services, program_id, made.id, actor="merchant", terms=dearer)
    same = await change_reward(services, program_id, made.id, actor="merchant", terms=dearer)
    assert (made.name, made.version, made.is_on) == ("Birthday", 1, True)
    assert (changed.version, changed.terms, changed.changed_at) == (2, dearer, clock.now)
    assert same == changed
    async with services.database.transaction() as connection:
        found = await rewards.versions(connection, program_id, [made.version_id, changed.version_id])
        assert await rewards.every(connection, program_id, only_on=True) == [changed]
    assert [found[made.version_id].terms, found[changed.version_id].terms] == [TEN_PERCENT, dearer]
    trail = "SELECT action, subject, actor, detail->>'version' FROM audit_events ORDER BY id"
    assert await rows(services.database, trail) == [
        ("reward.created", f"reward:{made.id}", "merchant", "1"),
        ("reward.changed", f"reward:{made.id}", "merchant", "2"),
    ]


async def test_a_store_must_be_able_to_do_it(services: Services) -> None:
    stripe = await program_with(services, "stripe")
    dollars = await program_with(services, "woocommerce", "USD")
    free = RewardTerms(Benefit(BenefitKind.FREE_SHIPPING))
    for program_id, terms, words in [(stripe, free, "shipping"), (dollars, FIVE_EUR, "USD")]:
        with pytest.raises(InvalidInputError, match=words):
            await create_reward(
                services, program_id, name="Birthday", trigger="birthday", terms=terms, actor="merchant"
            )
        made = await create_reward(
            services, program_id, name="Birthday", trigger="birthday", terms=TEN_PERCENT, actor="merchant"
        )
        with pytest.raises(InvalidInputError, match=words):
            await change_reward(services, program_id, made.id, actor="merchant", terms=terms)
    woo = await program_with(services, "woocommerce")
    for terms in (free, FIVE_EUR):
        await create_reward(services, woo, name="Birthday", trigger="birthday", terms=terms, actor="merchant")


async def test_another_programs_reward_is_not_found(services: Services) -> None:
    ours, theirs = await program_with(services, "woocommerce"), await new_store(services.database)
    made = await create_reward(
        services, ours, name="Birthday", trigger="birthday", terms=TEN_PERCENT, actor="merchant"
    )
    with pytest.raises(NotFoundError):
        await change_reward(services, theirs.program_id, made.id, actor="merchant", is_on=False)


async def test_an_unknown_trigger_is_refused(services: Services) -> None:
    program_id = await program_with(services, "woocommerce")
    with pytest.raises(InvalidInputError, match="birthday, joining"):
        await create_reward(
            services, program_id, name="Moon", trigger="full_moon", terms=TEN_PERCENT, actor="merchant"
        )


async def test_the_new_terms_are_kept_and_compared(services: Services) -> None:
    program_id = await program_with(services, "stripe")
    benefit = replace(TEN_PERCENT.benefit, product_external_ids=("prod_1", "prod_2"), first_time_only=True)
    terms = replace(TEN_PERCENT, benefit=benefit, binding=Binding.OPEN)
    made = await create_reward(
        services, program_id, name="Open", trigger="birthday", terms=terms, actor="merchant"
    )
    assert made.terms == terms
    same = await change_reward(services, program_id, made.id, actor="merchant", terms=terms)
    assert same.version == 1
    closed = await change_reward(
        services, program_id, made.id, actor="merchant", terms=replace(terms, binding=Binding.BOUND)
    )
    assert (closed.version, closed.terms.binding) == (2, Binding.BOUND)
    async with services.database.transaction() as connection:
        found = await rewards.versions(connection, program_id, [made.version_id])
    assert found[made.version_id].terms == terms


async def test_versions_from_before_have_the_defaults(services: Services) -> None:
    program_id = await program_with(services, "woocommerce")
    made = await create_reward(
        services, program_id, name="Old", trigger="birthday", terms=TEN_PERCENT, actor="merchant"
    )
    await rows(
        services.database,
        """UPDATE reward_versions SET rules = '{}', benefit = benefit - 'product_external_ids'
               - 'collection_external_ids' - 'first_time_only' RETURNING id""",
    )
    same = await change_reward(services, program_id, made.id, actor="merchant", terms=TEN_PERCENT)
    assert (same.version, same.terms) == (1, TEN_PERCENT)


async def test_a_store_that_cannot_give_it_is_left_out_by_name(services: Services) -> None:
    program_id = await program_with(services, "woocommerce")
    async with services.database.transaction() as connection:
        stripe = await make_store(connection, program_id, platform="stripe")
    free = RewardTerms(Benefit(BenefitKind.FREE_SHIPPING))
    made = await create_reward(
        services, program_id, name="Free", trigger="birthday", terms=free, actor="merchant"
    )
    async with services.database.transaction() as connection:
        notes = await abilities.notes_for(services, connection, program_id, free)
    (note,) = [note for note in notes if note.is_left_out]
    assert (note.store_id, "shipping" in note.note) == (stripe.id, True)
    runs = (await occasions.run(services)).runs
    assert {run.store_id: run.left_out for run in runs}[stripe.id] == note.note
    assert [run.left_out for run in runs if run.store_id != stripe.id] == [None]
    assert made.is_on


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (replace(TEN_PERCENT, binding=Binding.OPEN), "whoever holds them"),
        (replace(TEN_PERCENT, combines=True), "together"),
        (RewardTerms(Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("7",))), "free product"),
        (RewardTerms(replace(TEN_PERCENT.benefit, product_external_ids=("7",))), "product"),
        (RewardTerms(replace(TEN_PERCENT.benefit, collection_external_ids=("7",))), "collection"),
        (RewardTerms(replace(TEN_PERCENT.benefit, first_time_only=True)), "first order"),
    ],
)
async def test_what_a_platform_cannot_do_is_refused_in_its_words(
    services: Services, terms: RewardTerms, words: str
) -> None:
    """By a platform that can put plain codes into its stores, and nothing else."""
    said = {Binding.BOUND: "Only the member can use it."}
    plain = replace(
        services.connectors["woocommerce"], capabilities=frozenset({Capability.WRITE_CODES}), explains=said
    )
    ours = replace(services, connectors={"woocommerce": plain})
    program_id = await program_with(ours, "woocommerce")
    with pytest.raises(InvalidInputError, match=f"The store Store: .*{words}"):
        await create_reward(ours, program_id, name="x", trigger="birthday", terms=terms, actor="merchant")
    async with services.database.transaction() as connection:
        notes = await abilities.notes_for(ours, connection, program_id, TEN_PERCENT)
    assert [note.note for note in notes] == [
        "Only the member can use it.",
        "Members without an account in this store get no code; --binding open would reach them.",
    ]
