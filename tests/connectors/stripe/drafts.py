"""Drafts of personal codes, and what would be stored of pushed ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rewards.records import Benefit, BenefitKind, CodeDraft, KnownCode, PushedCode

TEN = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)


def draft(number: int = 1, **changes: object) -> CodeDraft:
    """A code of ten per cent for a Customer of the made-up account."""
    now = datetime.now(UTC)
    made = CodeDraft(
        code=f"BIRTHDAY-{number:04d}",
        idempotency_key=f"grant:{number}",
        reward_key="reward:1",
        title="Birthday (birthday:2026)",
        benefit=TEN,
        starts_at=now,
        ends_at=now + timedelta(days=30),
        customer_external_id=f"cus_Sbx{number:011d}",
        email=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def known(code: PushedCode) -> KnownCode:
    """What would be stored of a code."""
    return KnownCode(code.code, code.external_id, code.coupon_external_id)
