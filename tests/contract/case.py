"""What a platform brings to the contract suite: one `ContractCase` named CASE in `tests/connectors/<platform>/case.py`.

Every connector honours these names in `StoreOptions.settings`:

- "patience_seconds": how long one call may keep retrying before it raises RetryLaterError (default "60"). With "0"
  nothing is tried twice, and no wait ever goes beyond what is left of the patience.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.base import Connector, RawDelivery, Secret
from sandbox.server import Sandbox
from sandbox.world import World


@dataclass(frozen=True)
class ContractCase:
    """One connector, its stand-in, and how a genuine delivery of its platform is made.

    `payloads` is a folder of *.json files, see `Payload`. `deliver` takes topic, body, secret, the time of signing and
    the token at the end of our webhook path. `time_is_signed`: the signature covers a time, so an old post is refused.
    """

    connector: Connector
    sandbox: Callable[[World], Sandbox]
    payloads: Path
    deliver: Callable[[str, bytes, Secret, datetime, str], RawDelivery]
    time_is_signed: bool


@dataclass(frozen=True)
class Payload:
    """One recorded post: a JSON file {"topic", "headers" (lower case), "body" or "body_text", "note"}."""

    name: str
    topic: str
    headers: Mapping[str, str]
    body: bytes
    note: str


def load_payload(path: Path) -> Payload:
    """The payload of one file; "body_text" gives the exact bytes, "body" is written as compact JSON."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    text = (
        content["body_text"] if "body_text" in content else json.dumps(content["body"], separators=(",", ":"))
    )
    return Payload(
        name=path.stem,
        topic=content["topic"],
        headers=content.get("headers", {}),
        body=text.encode(),
        note=content.get("note", ""),
    )


def load_payloads(folder: Path) -> list[Payload]:
    """All payloads of a folder by file name."""
    return [load_payload(path) for path in sorted(folder.glob("*.json"))]
