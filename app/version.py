"""Which Perennial this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version that is installed; "unknown" in a checkout that nobody installed."""
    try:
        return installed_version("perennial")
    except PackageNotFoundError:
        return "unknown"
