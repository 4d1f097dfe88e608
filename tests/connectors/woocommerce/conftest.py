"""Servers that are reached by https."""

from tests.tls import certificate, tls, trusts

__all__ = ["certificate", "tls", "trusts"]
