"""What stderr is told of the work: one plain line each, without what others write into their errors."""

from __future__ import annotations

import copy
import logging


class OneLine(logging.Formatter):
    """Puts a record on one line; an error stands in it by its kind and place.

    A trace fills the screen at each outage of the database, and an error's own words may hold personal data.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record in a line."""
        bare = copy.copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        said = " ".join(super().format(bare).split())
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, Exception):
            return said
        from sync.attempts import describe

        return f"{said} ({describe(error)})"
