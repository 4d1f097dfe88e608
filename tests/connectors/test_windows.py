from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.windows import AT_ONCE, even, tapering


@given(st.integers(0, 20_000), st.integers(1, 10))
def test_tapering_parts_hold_every_page_and_end_small(pages: int, least: int) -> None:
    sizes = tapering(pages, least)
    assert sum(sizes) == pages
    assert all(size > 0 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= 200
    assert len(sizes) >= min(AT_ONCE, pages)
    if pages:
        assert sizes[-1] <= least


@given(st.integers(1, 20_000), st.integers(1, AT_ONCE))
def test_even_parts_hold_every_page_and_differ_by_one(pages: int, parts: int) -> None:
    sizes = even(pages, parts)
    assert sum(sizes) == pages
    assert len(sizes) == min(parts, pages)
    assert max(sizes) - min(sizes) <= 1
