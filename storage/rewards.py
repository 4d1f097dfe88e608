"""Rewards and their versions: the terms as of each change stay, so that a grant keeps what it was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from rewards.errors import InvalidInputError, NotFoundError
from rewards.occasions import Trigger
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms, reward_name
from storage import audit
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class RewardRow:
    """A reward with its terms as they are now."""

    id: int
    program_id: int
    name: str
    trigger: Trigger
    is_on: bool
    version: int
    version_id: int
    changed_at: datetime
    terms: RewardTerms


@dataclass(frozen=True, slots=True)
class RewardVersionRow:
    """A reward's terms as of one version, for the grants made with it."""

    id: int
    program_id: int
    reward_id: int
    reward_name: str
    version: int
    terms: RewardTerms


_SELECT = """SELECT r.id, r.program_id, r.name, r.trigger, r.is_on, r.version, v.id AS version_id, r.changed_at,
    v.benefit, v.lead_days, v.validity_days, v.code_prefix, v.rules, v.generic_coupon_id
    FROM rewards r JOIN reward_versions v ON v.program_id = r.program_id AND v.reward_id = r.id
        AND v.version = r.version"""


async def every(connection: Connection, program_id: int, *, only_on: bool = False) -> list[RewardRow]:
    """The program's rewards, oldest first, or only those that are on."""
    cursor = await connection.execute(
        f"{_SELECT} WHERE r.program_id = %s AND (r.is_on OR NOT %s) ORDER BY r.id", (program_id, only_on)
    )
    return [_row(found) for found in await cursor.fetchall()]


async def by_id(connection: Connection, program_id: int, reward_id: int) -> RewardRow:
    """The reward; raises NotFoundError."""
    cursor = await connection.execute(
        f"{_SELECT} WHERE r.program_id = %s AND r.id = %s", (program_id, reward_id)
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(
            f"There is no reward {reward_id} in this program; `perennial rewards list` shows them."
        )
    return _row(found)


async def versions(
    connection: Connection, program_id: int, version_ids: Iterable[int]
) -> dict[int, RewardVersionRow]:
    """Versions by their ids."""
    cursor = await connection.execute(
        """SELECT v.id, v.program_id, v.reward_id, r.name AS reward_name, v.version, v.benefit, v.lead_days,
               v.validity_days, v.code_prefix, v.rules, v.generic_coupon_id
           FROM reward_versions v JOIN rewards r ON r.id = v.reward_id
           WHERE v.program_id = %s AND v.id = ANY(%s)""",
        (program_id, sorted(set(version_ids))),
    )
    return {found["id"]: _version_row(found) for found in await cursor.fetchall()}


async def create(
    connection: Connection,
    program_id: int,
    *,
    name: str,
    trigger: str,
    terms: RewardTerms,
    now: datetime,
    actor: str,
) -> RewardRow:
    """Adds a reward, switched on. Raises InvalidInputError."""
    if trigger not in set(Trigger):
        raise InvalidInputError(f"A reward comes on one of: {', '.join(Trigger)}.")
    cursor = await connection.execute(
        """INSERT INTO rewards (program_id, name, trigger, is_on, version, changed_at, created_at)
           VALUES (%s, %s, %s, true, 1, %s, %s) RETURNING id""",
        (program_id, reward_name(name), trigger, now, now),
    )
    created = await cursor.fetchone()
    assert created is not None, "an insert returns its row"
    await _add_version(connection, program_id, created["id"], 1, terms, now)
    made = await by_id(connection, program_id, created["id"])
    await _note(connection, made, "reward.created", now, actor)
    return made


async def change(
    connection: Connection,
    program_id: int,
    reward_id: int,
    *,
    now: datetime,
    actor: str,
    name: str | None = None,
    terms: RewardTerms | None = None,
    is_on: bool | None = None,
) -> RewardRow:
    """Changes what is given as a new version; grants made before keep theirs. Raises NotFoundError, InvalidInputError."""
    await connection.execute(
        "SELECT FROM rewards WHERE program_id = %s AND id = %s FOR UPDATE", (program_id, reward_id)
    )
    before = await by_id(connection, program_id, reward_id)
    new_name = before.name if name is None else reward_name(name)
    new_terms = before.terms if terms is None else terms
    new_is_on = before.is_on if is_on is None else is_on
    if (new_name, new_terms, new_is_on) == (before.name, before.terms, before.is_on):
        return before
    await connection.execute(
        """UPDATE rewards SET name = %s, is_on = %s, version = version + 1, changed_at = %s
           WHERE program_id = %s AND id = %s""",
        (new_name, new_is_on, now, program_id, reward_id),
    )
    await _add_version(connection, program_id, reward_id, before.version + 1, new_terms, now)
    if new_is_on and not before.is_on:
        # Switched on again, it starts anew: the days while it was off are not caught up with.
        await connection.execute("DELETE FROM reward_progress WHERE reward_id = %s", (reward_id,))
    changed = await by_id(connection, program_id, reward_id)
    await _note(connection, changed, "reward.changed", now, actor)
    return changed


async def _add_version(
    connection: Connection, program_id: int, reward_id: int, version: int, terms: RewardTerms, now: datetime
) -> None:
    await connection.execute(
        """INSERT INTO reward_versions (program_id, reward_id, version, benefit, lead_days, validity_days,
               code_prefix, rules, generic_coupon_id, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            program_id,
            reward_id,
            version,
            Jsonb(asdict(terms.benefit)),
            terms.lead_days,
            terms.validity_days,
            terms.code_prefix,
            Jsonb(_rules(terms)),
            terms.coupon_id,
            now,
        ),
    )


async def _note(connection: Connection, reward: RewardRow, action: str, now: datetime, actor: str) -> None:
    detail = {
        "name": reward.name,
        "trigger": reward.trigger,
        "is_on": reward.is_on,
        "version": reward.version,
        "benefit": asdict(reward.terms.benefit),
        "lead_days": reward.terms.lead_days,
        "validity_days": reward.terms.validity_days,
        "code_prefix": reward.terms.code_prefix,
        "coupon_id": reward.terms.coupon_id,
        **_rules(reward.terms),
    }
    await audit.record(
        connection,
        reward.program_id,
        action,
        at=now,
        actor=actor,
        subject=f"reward:{reward.id}",
        detail=detail,
    )


def _row(found: Mapping[str, Any]) -> RewardRow:
    names = ("id", "program_id", "name", "is_on", "version", "version_id", "changed_at")
    kept = {name: found[name] for name in names}
    return RewardRow(**kept, trigger=Trigger(found["trigger"]), terms=_terms(found))


def _version_row(found: Mapping[str, Any]) -> RewardVersionRow:
    names = ("id", "program_id", "reward_id", "reward_name", "version")
    return RewardVersionRow(**{name: found[name] for name in names}, terms=_terms(found))


def _terms(found: Mapping[str, Any]) -> RewardTerms:
    rules = found["rules"]
    return RewardTerms(
        benefit=_benefit(found["benefit"]),
        lead_days=found["lead_days"],
        validity_days=found["validity_days"],
        code_prefix=found["code_prefix"],
        binding=Binding(rules.get("binding", Binding.BOUND)),
        combines=rules.get("combines", False),
        coupon_id=found["generic_coupon_id"],
    )


def _rules(terms: RewardTerms) -> dict[str, object]:
    return {"binding": terms.binding.value, "combines": terms.combines}


def _benefit(stored: Mapping[str, Any]) -> Benefit:
    """Versions from before a field was there have its default; JSON knows no tuples."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    values["kind"] = BenefitKind(stored["kind"])
    return Benefit(**values)
