"""What the store is asked for when a grant's code is pushed, checked or restored: the same draft each time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from connectors.base import Capability
from rewards.records import Binding, CodeDraft, KnownCode
from rewards.returns import CodeReturns, returns_setting
from storage import code_keys, rewards
from storage.database import Connection
from storage.grants import GrantToPush
from storage.rewards import RewardVersionRow
from storage.stores import StoreRow
from sync.services import Services


async def drafts_for(
    services: Services, connection: Connection, store: StoreRow, grants: Sequence[GrantToPush]
) -> list[CodeDraft]:
    """One draft per grant, in order."""
    versions = await rewards.versions(
        connection, store.program_id, [grant.reward_version_id for grant in grants]
    )
    key = await code_keys.code_key(connection, services.secret_box, store.program_id)
    reward_keys = {version.id: _reward_key(key, version) for version in versions.values()}
    return [_draft(grant, versions, reward_keys) for grant in grants]


def known_code(grant: GrantToPush) -> KnownCode:
    """By what the store finds the grant's code again."""
    return KnownCode(grant.code, grant.external_id, grant.coupon_external_id)


def code_returns(capabilities: frozenset[Capability], store: StoreRow) -> CodeReturns:
    """When a used code of the store is given back, by the platform or by us."""
    return CodeReturns(Capability.CODE_RETURNS_ON_CANCEL in capabilities, returns_setting(store.settings))


def _draft(
    grant: GrantToPush, versions: Mapping[int, RewardVersionRow], reward_keys: Mapping[int, str]
) -> CodeDraft:
    version = versions[grant.reward_version_id]
    # The store of an open code need not know who it was for; a gift card is shown with its customer.
    names_customer = version.terms.binding is Binding.BOUND or version.terms.benefit.is_value
    return CodeDraft(
        code=grant.code,
        # The code is part of it, because nobody else who uses the same store's API can have it.
        idempotency_key=f"grant:{grant.id}:{grant.code}",
        reward_key=reward_keys[version.id],
        title=f"{version.reward_name} ({grant.occasion})",
        benefit=version.terms.benefit,
        starts_at=grant.decided_at,
        ends_at=grant.valid_until,
        customer_external_id=grant.customer_external_id if names_customer else None,
        email=grant.email if names_customer else None,
        binding=version.terms.binding,
        combines=version.terms.combines,
    )


def _reward_key(key: bytes, version: RewardVersionRow) -> str:
    """Names a version of a reward, differently in each Perennial that works on the same store."""
    text = f"reward\0{version.program_id}:{version.reward_id}:{version.version}"
    return f"perennial-{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:24]}"
