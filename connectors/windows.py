"""Into how many parts a history is cut, so that several can be read at a time and end at about the same moment."""

from __future__ import annotations

AT_ONCE = 8  # windows that are read at the same time


def tapering(pages: int, least: int = 1) -> list[int]:
    """Sizes of the parts in reading order: large ones first, then ever smaller ones down to `least` pages, less where
    there would be too few parts.

    Whoever is ready takes the next part, so at the end nobody waits for more than a small one. Each part is two thirds
    of a fair share of what is left: guided self-scheduling (Polychronopoulos and Kuck, 1987), a little coarser than
    its half shares, because each part costs half a page more.
    """
    sizes = []
    least = min(least, max(1, pages // AT_ONCE))
    while pages > 0:
        sizes.append(min(pages, max(least, -(-2 * pages // (3 * AT_ONCE)))))
        pages -= sizes[-1]
    return sizes


def even(pages: int, parts: int = AT_ONCE) -> list[int]:
    """Sizes of up to so many parts, which differ by a page at most."""
    parts = min(parts, pages)
    return [pages * (part + 1) // parts - pages * part // parts for part in range(parts)]
