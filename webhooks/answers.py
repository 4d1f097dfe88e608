"""How posts are answered, and how often each answer was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """How a post is answered; `reason` is short and holds nothing of the post."""

    status: int
    reason: str
    retry_after_seconds: int | None = None
    closes: bool = False  # the rest of the body is not read

    def headers(self) -> dict[str, str]:
        """The answer's header fields, names in lower case."""
        fields = {"content-type": "text/plain; charset=utf-8"}
        if self.retry_after_seconds is not None:
            fields["retry-after"] = str(self.retry_after_seconds)
        if self.status == 405:
            fields["allow"] = "POST"
        if self.closes:
            fields["connection"] = "close"
        return fields


KEPT = Answer(200, "kept")
NOTHING_KEPT = Answer(200, "genuine, and of a store that is not here (any more)")
OF_ANOTHER_APP = Answer(200, "genuine, and of an app that this store is not connected by")
PONG = Answer(200, "ready")
WRONG_METHOD = Answer(405, "Webhooks are sent with POST.")
TOO_SLOW = Answer(400, "The body did not arrive in time.", closes=True)


class Counts(Mapping[tuple[str, int], int]):
    """How often each platform's posts got each status since the start; unknown platforms count as "unknown"."""

    def __init__(self) -> None:
        self._counter: Counter[tuple[str, int]] = Counter()

    def add(self, platform: str, status: int) -> None:
        """Counts one answer."""
        self._counter[platform, status] += 1

    def __getitem__(self, key: tuple[str, int]) -> int:
        return self._counter[key]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._counter)

    def __len__(self) -> int:
        return len(self._counter)
