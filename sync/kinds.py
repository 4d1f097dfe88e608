"""The kinds of jobs, the queue each waits in, and the lock it runs under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What there is to do: about a store, about a past-action run, or about everything."""

    DRAIN = "drain"
    PUSH = "push"
    WRITE_BIRTHDAYS = "write_birthdays"
    SHOW_POINTS = "show_points"
    IMPORT_HISTORY = "import_history"
    RECONCILE = "reconcile"
    POLL = "poll"
    ASK_AGAIN = "ask_again"
    BACKFILL = "backfill"
    UNDO_BACKFILL = "undo_backfill"
    OCCASIONS = "occasions"
    TICK = "tick"
    HOUSEKEEPING = "housekeeping"
    ERASE_STORE = "erase_store"
    MAINTENANCE = "maintenance"


class Queue(StrEnum):
    """Kinds that must not wait for each other: a first import takes hours, a webhook wants its seconds."""

    CHANGES = "changes"
    CODES = "codes"
    RUNS = "runs"


class Subject(StrEnum):
    """What the number of a job stands for."""

    STORE = "store"
    RUN = "run"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a kind runs. A wake-up has at most one job waiting under its lock, and is deferred after the commit."""

    queue: Queue
    subject: Subject
    lock: str
    is_wake_up: bool
    needs_active_store: bool = False

    def lock_for(self, subject_id: int) -> str:
        """Jobs with the same lock run one after the other."""
        return f"{self.lock}:{subject_id}"


TERMS: Mapping[Kind, Terms] = {
    Kind.DRAIN: Terms(Queue.CHANGES, Subject.STORE, "drain", is_wake_up=True),
    Kind.PUSH: Terms(Queue.CODES, Subject.STORE, "push", is_wake_up=True, needs_active_store=True),
    Kind.WRITE_BIRTHDAYS: Terms(
        Queue.CODES, Subject.STORE, "birthdays", is_wake_up=True, needs_active_store=True
    ),
    Kind.SHOW_POINTS: Terms(Queue.CODES, Subject.STORE, "points", is_wake_up=True, needs_active_store=True),
    Kind.IMPORT_HISTORY: Terms(
        Queue.RUNS, Subject.STORE, "import", is_wake_up=False, needs_active_store=True
    ),
    Kind.RECONCILE: Terms(Queue.RUNS, Subject.STORE, "reconcile", is_wake_up=True, needs_active_store=True),
    # Under one lock with the daily look, which does the same and more.
    Kind.POLL: Terms(Queue.RUNS, Subject.STORE, "reconcile", is_wake_up=True, needs_active_store=True),
    Kind.ASK_AGAIN: Terms(Queue.CODES, Subject.STORE, "ask", is_wake_up=True),
    Kind.BACKFILL: Terms(Queue.RUNS, Subject.RUN, "run", is_wake_up=False),
    Kind.UNDO_BACKFILL: Terms(Queue.RUNS, Subject.RUN, "run", is_wake_up=False),
    Kind.OCCASIONS: Terms(Queue.CODES, Subject.NONE, "occasions", is_wake_up=True),
    Kind.ERASE_STORE: Terms(Queue.RUNS, Subject.STORE, "erase", is_wake_up=True),
    Kind.TICK: Terms(Queue.CHANGES, Subject.NONE, "tick", is_wake_up=True),
    Kind.HOUSEKEEPING: Terms(Queue.RUNS, Subject.NONE, "housekeeping", is_wake_up=True),
    # Its number is the store after which it begins.
    Kind.MAINTENANCE: Terms(Queue.CODES, Subject.NONE, "maintenance", is_wake_up=True),
}
