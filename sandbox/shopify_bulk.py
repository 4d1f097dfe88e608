"""Bulk operations of the stand-in Shopify: up to five at once, each ending in a JSONL file.

A million lines through graphql-core would take minutes, so a bulk query's selection is compiled once into a projection
of the views; a test holds that a line equals what graphql-core answers for the same selection.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from graphql import FieldNode, InlineFragmentNode, OperationType, SelectionSetNode, value_from_ast_untyped

from sandbox.shopify_graphql import checked, operation_of

View = dict[str, Any]
_AT_ONCE = 5
_ROWS_AT_A_TIME = 500
_MOMENT_SECONDS = 0.05
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Operation:
    """One export: CREATED, RUNNING, COMPLETED, FAILED or CANCELED."""

    number: int
    query: str
    created_at: datetime
    status: str = "CREATED"
    error_code: str | None = None
    completed_at: datetime | None = None
    path: Path | None = None
    partial_path: Path | None = None
    count: int = 0
    is_expired: bool = False  # the address of its file, after seven days

    @property
    def gid(self) -> str:
        return f"gid://shopify/BulkOperation/{self.number}"

    @property
    def is_over(self) -> bool:
        return self.status not in ("CREATED", "RUNNING")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A file that is ready, and the state of the world that it shows."""

    path: Path
    count: int
    version: int


@dataclass
class BulkDesk:
    """Takes bulk queries and works them off in the background.

    `sources` gives, by root connection, the objects for a search text and how each is viewed.
    """

    folder: Path
    sources: dict[str, Callable[[str], tuple[Iterable[Any], Callable[[Any], View]]]]
    clock: Callable[[], datetime]
    on_finish: Callable[[Operation], None]
    version: Callable[[], int]
    # Fields that the app may not see, and what becomes of an export that asks for them: "null" or "fail".
    hidden: Callable[[], tuple[frozenset[str], str]] = lambda: (frozenset(), "fail")
    operations: dict[str, Operation] = field(default_factory=dict)
    # Cleared, exports run until it is set.
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _rendered: dict[tuple[str, frozenset[str]], Rendered] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(8_000_000_001))

    def __post_init__(self) -> None:
        self.open.set()

    def start(self, query: str) -> tuple[Operation | None, list[dict[str, Any]]]:
        """A new operation, or Shopify's user errors."""
        problem = _problem(query, self.sources)
        if problem:
            return None, [{"field": ["query"], "message": problem, "code": "INVALID"}]
        if sum(not operation.is_over for operation in self.operations.values()) >= _AT_ONCE:
            message = "A bulk query operation for this app and shop is already in progress."
            return None, [{"field": None, "message": message, "code": "OPERATION_IN_PROGRESS"}]
        operation = Operation(next(iter(self._numbers)), query, self.clock())
        self.operations[operation.gid] = operation
        task = asyncio.create_task(self._run(operation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return operation, []

    def cancel(self, gid: str) -> Operation | None:
        """Stops a running operation."""
        operation = self.operations.get(gid)
        if operation is not None and not operation.is_over:
            operation.status = "CANCELED"
        return operation

    async def render(self, query: str) -> Rendered:
        """The file of a bulk query, made now or taken from an earlier time when nothing has changed since."""
        version, (hidden, _) = self.version(), self.hidden()
        ready = self._rendered.get((query, hidden))
        if ready is not None and ready.version == version:
            return ready
        document, _ = checked(query)
        assert document is not None
        root = operation_of(document).selection_set.selections[0]
        assert isinstance(root, FieldNode)
        rows, view = self.sources[root.name.value](_search_of(root))
        plan = projection(_node_selection(root))
        if hidden:
            plan = _without(hidden, plan)
        path = (
            self.folder / f"{hashlib.sha256(query.encode()).hexdigest()[:16]}-{version}-{len(hidden)}.jsonl"
        )
        count = 0
        with path.open("wb") as file:
            for row in rows:
                file.write(_encode(plan(view(row))) + b"\n")
                count += 1
                if count % _ROWS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
        rendered = self._rendered[query, hidden] = Rendered(path, count, version)
        return rendered

    def end_early(self, operation: Operation, status: str, lines: int, cut: int = 0) -> None:
        """Ends an export that was written, as if it had come no further than so many lines and `cut` bytes more."""
        assert operation.path is not None
        content = operation.path.read_bytes()
        ends = [found.end() for found in re.finditer(b"\n", content)]
        end = (ends[lines - 1] if lines else 0) + cut
        operation.partial_path = operation.path.with_suffix(f".{operation.number}.part")
        operation.partial_path.write_bytes(content[:end])
        operation.status, operation.path = status, None
        operation.error_code = "INTERNAL_SERVER_ERROR" if status == "FAILED" else None

    async def settled(self) -> None:
        """Waits until every export that was started has ended."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stops what is running."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, operation: Operation) -> None:
        operation.status = "RUNNING"
        await asyncio.sleep(_MOMENT_SECONDS)
        await self.open.wait()
        hidden, what_then = self.hidden()
        if what_then == "fail" and hidden & _fields_of(operation.query):
            operation.status, operation.error_code = "FAILED", "ACCESS_DENIED"
            operation.completed_at = self.clock()
            self.on_finish(operation)
            return
        rendered = await self.render(operation.query)
        if operation.is_over:
            return
        operation.path, operation.count = rendered.path, rendered.count
        operation.status, operation.completed_at = "COMPLETED", self.clock()
        self.on_finish(operation)


def operation_view(operation: Operation, base: str) -> View:
    """The BulkOperation object; its file's address is signed and needs no token."""
    path = operation.path if operation.count else None
    return {
        "__typename": "BulkOperation",
        "id": operation.gid,
        "type": "QUERY",
        "query": operation.query,
        "status": operation.status,
        "errorCode": operation.error_code,
        "createdAt": _z(operation.created_at),
        "completedAt": _z(operation.completed_at) if operation.completed_at else None,
        "objectCount": str(operation.count),
        "rootObjectCount": str(operation.count),
        "fileSize": str(path.stat().st_size) if path else None,
        "url": f"{base}/bulk-results/{operation.number}?Signature={file_signature(operation.number)}"
        if path
        else None,
        "partialDataUrl": f"{base}/bulk-results/{operation.number}?Signature={file_signature(operation.number)}"
        if operation.partial_path
        else None,
    }


def _fields_of(query: str) -> frozenset[str]:
    """The names of all fields that a bulk query asks for."""
    document, _ = checked(query)
    assert document is not None
    return frozenset(_names(operation_of(document).selection_set))


def _without(hidden: frozenset[str], plan: Callable[[View], View]) -> Callable[[View], View]:
    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: None if name in hidden else blank(inner) for name, inner in value.items()}
        return [blank(item) for item in value] if isinstance(value, list) else value

    return lambda view: dict(blank(plan(view)))


def file_signature(number: int) -> str:
    """What the address of a result carries instead of a token."""
    return hmac.new(b"storage", str(number).encode(), hashlib.sha256).hexdigest()


def projection(selected: SelectionSetNode) -> Callable[[View], View]:
    """Compiles a selection into a function from a view to its JSON."""
    fields: list[tuple[str, str, dict[str, Any], Callable[[View], View] | None]] = []
    parts: list[tuple[str, Callable[[View], View]]] = []
    for node in selected.selections:
        if isinstance(node, FieldNode):
            inner = projection(node.selection_set) if node.selection_set else None
            key = node.alias.value if node.alias else node.name.value
            given = {a.name.value: value_from_ast_untyped(a.value) for a in node.arguments or ()}
            fields.append((key, node.name.value, given, inner))
        elif isinstance(node, InlineFragmentNode) and node.type_condition:
            parts.append((node.type_condition.name.value, projection(node.selection_set)))

    def project(view: View) -> View:
        out: View = {}
        for key, name, given, inner in fields:
            value = view[name]
            if callable(value):
                value = value(None, **given)
            out[key] = value if inner is None or value is None else _inner(value, inner)
        for kind, part in parts:
            if view["__typename"] == kind:
                out |= part(view)
        return out

    return project


def _inner(value: Any, project: Callable[[View], View]) -> Any:
    return [project(item) for item in value] if isinstance(value, list) else project(value)


def _problem(query: str, sources: Iterable[str]) -> str | None:
    """What is wrong with a bulk query, in few words."""
    document, errors = checked(query)
    if document is None:
        return f"Invalid bulk query: {errors[0].message}"
    operation = operation_of(document)
    roots = operation.selection_set.selections
    if operation.operation is not OperationType.QUERY or operation.variable_definitions:
        return "Bulk queries are queries without variables."
    if len(roots) != 1 or not isinstance(roots[0], FieldNode) or roots[0].name.value not in sources:
        return "Bulk queries must contain exactly one connection at the top."
    if {"edges", "nodes"} & set(_names(_node_selection(roots[0]))):
        return "Nested connections are beyond this stand-in."
    return None


def _names(selected: SelectionSetNode) -> Iterable[str]:
    for node in selected.selections:
        if isinstance(node, FieldNode):
            yield node.name.value
        inner = getattr(node, "selection_set", None)
        if inner is not None:
            yield from _names(inner)


def _node_selection(root: FieldNode) -> SelectionSetNode:
    """What is selected of each node: below edges { node { … } } or nodes { … }."""
    assert root.selection_set is not None
    for node in root.selection_set.selections:
        if isinstance(node, FieldNode) and node.selection_set:
            if node.name.value == "nodes":
                return node.selection_set
            if node.name.value == "edges":
                return _node_selection_of_edge(node.selection_set)
    return SelectionSetNode(selections=())


def _node_selection_of_edge(selected: SelectionSetNode) -> SelectionSetNode:
    for node in selected.selections:
        if isinstance(node, FieldNode) and node.name.value == "node" and node.selection_set:
            return node.selection_set
    return SelectionSetNode(selections=())


def _search_of(root: FieldNode) -> str:
    for argument in root.arguments or ():
        if argument.name.value == "query":
            return str(value_from_ast_untyped(argument.value) or "")
    return ""


_TERM = re.compile(r"(\w+):(>=|<=|>|<)?'?([^'\s]+)'?")


def searched(search: str | None, facts: Callable[[Any], dict[str, Any]]) -> Callable[[Any], bool]:
    """A filter from Shopify's search text: terms joined by AND over the facts of an object; unknown terms let pass."""
    terms = _TERM.findall(search or "")

    def holds(item: Any) -> bool:
        known = facts(item)
        return all(_term_holds(known[name], sign, text) for name, sign, text in terms if name in known)

    return holds if terms else lambda item: True


def _term_holds(value: Any, sign: str, text: str) -> bool:
    wanted: Any = text
    if isinstance(value, datetime):
        wanted = datetime.fromisoformat(text)
        wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    elif isinstance(value, int):
        wanted = int(text)
    if sign == ">=":
        return bool(value >= wanted)
    if sign == "<=":
        return bool(value <= wanted)
    if sign == ">":
        return bool(value > wanted)
    return bool(value < wanted) if sign == "<" else bool(value == wanted)


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
