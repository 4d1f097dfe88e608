"""How often one address may ask for pages that make us work."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_ADDRESSES = 10_000


@dataclass
class Visitors:
    """Lets each address through `burst` times at once and `per_minute` times a minute after that. Of this process."""

    per_minute: float
    burst: int
    _full_at: dict[str, float] = field(default_factory=dict)

    def wait_of(self, address: str, now: float) -> float:
        """0, and the request is counted; or how many seconds the address has to wait."""
        gap = 60 / self.per_minute
        full_at = max(now, self._full_at.get(address, 0.0))
        wait = full_at - now - gap * (self.burst - 1)
        if wait > 0:
            return wait
        self._full_at[address] = full_at + gap
        if len(self._full_at) > MOST_ADDRESSES:
            self._full_at = {known: at for known, at in self._full_at.items() if at > now}
        return 0.0
