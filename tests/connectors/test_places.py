"""The rule of the board: never more places than the limit, each its turn, and a limit that is found out together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.places import LAPSES_SECONDS, Report, Share, Standing, settled


def report(member: str = "a", **changes: int | bool) -> Report:
    values: dict[str, int | bool] = {"in_flight": 0, "wants": 8, "first": 2, "most": 8, **changes}
    return Report(member, **values)  # type: ignore[arg-type]


def test_the_first_gets_what_there_is_at_first_and_no_more_than_it_wants() -> None:
    assert settled(Standing(), report(), 0.0) == Share(places=2, limit=2, spare=0)
    assert settled(Standing(), report(wants=1), 0.0) == Share(places=1, limit=2, spare=1)


def test_fast_answers_raise_the_limit_one_by_one_and_no_higher_than_most() -> None:
    standing = Standing()
    settled(standing, report(), 0.0)
    limits = [settled(standing, report(good=good), 0.1).limit for good in (1, 1, 2, 1, 4 + 5, 100, 100)]
    assert limits == [2, 3, 3, 4, 6, 8, 8]


def test_slow_answers_of_one_make_the_fast_ones_of_all_count_anew() -> None:
    standing = Standing()
    settled(standing, report("a", good=1), 0.0)
    assert settled(standing, report("b", is_broken=True), 0.0).limit == 2
    assert settled(standing, report("a", good=1), 0.0).limit == 2
    assert settled(standing, report("a", good=1), 0.0).limit == 3


def test_what_one_finds_too_much_is_too_much_for_all() -> None:
    standing = Standing(limit=8)
    standing.members = {}
    settled(standing, report("a", wants=8), 0.0)
    settled(standing, report("a", wants=8, good=100), 0.0)
    assert settled(standing, report("b", overran=1), 0.0).limit == 4
    assert settled(standing, report("a", in_flight=8), 0.1).limit == 4
    assert settled(standing, report("b", overran=3), 0.2).limit == 1


def test_who_holds_more_than_its_part_gives_it_up_as_its_calls_come_back() -> None:
    standing = Standing()
    settled(standing, report("a", good=100), 0.0)
    assert settled(standing, report("a", in_flight=8), 0.1).places == 8
    assert settled(standing, report("b"), 0.2) == Share(places=0, limit=8, spare=0)
    assert settled(standing, report("a", in_flight=8), 0.3).places == 4
    assert settled(standing, report("b"), 0.4).places == 0  # they are still on their way
    assert settled(standing, report("a", in_flight=5), 0.5).places == 4
    assert settled(standing, report("b"), 0.6).places == 3


def test_with_fewer_places_than_processes_they_take_turns() -> None:
    standing = Standing()
    settled(standing, report("a", overran=1), 0.0)
    served = []
    for moment in range(1, 13):
        for member in "abc":
            if settled(standing, report(member, wants=3), moment / 10).places:
                served.append(member)
    assert {member: served.count(member) for member in "abc"} == {"a": 3, "b": 3, "c": 3}  # and 3 handovers


def test_who_says_nothing_is_struck_off_and_who_says_farewell_at_once() -> None:
    standing = Standing()
    settled(standing, report("a"), 0.0)
    assert settled(standing, report("b"), LAPSES_SECONDS - 0.1).places == 0
    assert settled(standing, report("b"), LAPSES_SECONDS + 0.1).places == 2
    assert settled(standing, report("b", wants=0), LAPSES_SECONDS + 0.2) == Share(0, 2, 2)
    assert standing.members == {}


def test_after_a_rest_it_begins_with_few_again_and_with_fewer_where_those_were_too_many() -> None:
    standing = Standing()
    settled(standing, report(good=100), 0.0)
    assert settled(standing, report(), 60.0).limit == 2
    settled(standing, report(overran=1), 60.1)
    assert settled(standing, report(), 120.0).limit == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.integers(0, 5), st.integers(0, 2)),
        max_size=60,
    )
)
def test_whatever_is_reported_no_more_is_given_than_the_limit(
    told: list[tuple[str, int, int, int]],
) -> None:
    """Each has as many on their way as it may, or what is left of more."""
    standing, flying = Standing(), dict.fromkeys("abcd", 0)
    for place, (member, more, good, overran) in enumerate(told):
        before = sum(flying.values())
        share = settled(
            standing,
            report(member, in_flight=flying[member], wants=flying[member] + more, good=good, overran=overran),
            place / 100,
        )
        flying[member] = max(share.places, 0) if share.places >= flying[member] else flying[member]
        assert 1 <= share.limit <= 8
        assert sum(flying.values()) <= max(before, share.limit)
        flying[member] = min(flying[member], share.places)  # the rest comes back
