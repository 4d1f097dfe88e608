"""Everything Perennial raises on purpose.

AppError
├── RejectedDeliveryError     a webhook post we refuse
│   ├── BadSignatureError
│   ├── MalformedDeliveryError
│   └── UnknownStoreError
├── PlatformError             a platform's API did not do what we asked
│   ├── RetryLaterError       rate limit, 5xx, network; carries retry_after_seconds
│   ├── AccessRevokedError    pause the store, tell the merchant
│   └── RefusedError          will never work; keep the reason, do not retry
├── LedgerError
│   └── AlreadyReversedError
├── CurrencyMismatchError     amounts of two currencies never meet in one sum
├── NotFoundError             no such store, member, run or reward here
├── InvalidInputError         what the merchant gave us cannot be used as it is
└── DatabaseError             the database cannot be used; says what to do

Messages are for people: they say what to do next, and never hold a body, a token or personal data.
"""

from __future__ import annotations


class AppError(Exception):
    """Base of every error that Perennial raises on purpose."""


class RejectedDeliveryError(AppError):
    """A webhook post that is not accepted."""


class BadSignatureError(RejectedDeliveryError):
    """The signature is missing, wrong, or too old."""


class MalformedDeliveryError(RejectedDeliveryError):
    """The post lacks what every genuine one has, or its signed body cannot be read."""


class UnknownStoreError(RejectedDeliveryError):
    """No installed store answers to what the post claims."""


class PlatformError(AppError):
    """A platform's API did not do what we asked."""


class RetryLaterError(PlatformError):
    """Worth another try: rate limit, server error, cut connection, unreadable answer."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AccessRevokedError(PlatformError):
    """The platform no longer accepts our credentials for this store."""


class RefusedError(PlatformError):
    """The platform will never do this as asked; `code` is its own word for why."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class LedgerError(AppError):
    """The ledger cannot do this."""


class AlreadyReversedError(LedgerError):
    """The entry or run has been undone before."""


class CurrencyMismatchError(AppError):
    """Amounts of two currencies never meet in one sum."""


class NotFoundError(AppError):
    """There is no such store, member, run or reward."""


class InvalidInputError(AppError):
    """What was given cannot be used as it is."""


class DatabaseError(AppError):
    """The database cannot be used; the message says what to do."""
