"""GraphQL as Shopify's Admin API answers it: the cut-out schema, what a request costs, and the bucket it comes from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    build_schema,
    execute_sync,
    get_named_type,
    parse,
    validate,
)

_MUTATION_COST, _MOST_FOR_ONE = 10, 1_000
_COMPOSITE = (GraphQLObjectType, GraphQLInterfaceType)


@cache
def schema() -> GraphQLSchema:
    """The cut-out of the official schema."""
    return build_schema(files("sandbox").joinpath("shopify.graphql").read_text(encoding="utf-8"))


@lru_cache(maxsize=200)
def checked(query: str) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """The parsed document, or why it cannot run."""
    try:
        document = parse(query)
    except GraphQLError as error:
        return None, [error]
    errors = validate(schema(), document)
    return (None, errors) if errors else (document, [])


def operation_of(document: DocumentNode) -> OperationDefinitionNode:
    """The document's one operation."""
    return next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))


def requested_cost(document: DocumentNode, variables: Mapping[str, Any]) -> float:
    """Points asked for: an object 1, a scalar 0, a connection by `first`, a mutation 10 (limits page of Shopify)."""
    operation = operation_of(document)
    if operation.operation is OperationType.MUTATION:
        return _MUTATION_COST * len(operation.selection_set.selections)
    return max(1.0, _cost(operation.selection_set, schema().query_type, variables))


def _cost(selected: SelectionSetNode | None, kind: Any, variables: Mapping[str, Any]) -> float:
    points, dearest = 0.0, 0.0
    for node in selected.selections if selected else ():
        if isinstance(node, FieldNode):
            points += _field_cost(node, kind, variables)
        elif isinstance(node, InlineFragmentNode):
            on = schema().type_map[node.type_condition.name.value] if node.type_condition else kind
            dearest = max(dearest, _cost(node.selection_set, on, variables))
    return points + dearest


def _field_cost(node: FieldNode, kind: Any, variables: Mapping[str, Any]) -> float:
    if node.selection_set is None or not isinstance(kind, _COMPOSITE):
        return 0.0
    target = get_named_type(kind.fields[node.name.value].type)
    inner = _cost(node.selection_set, target, variables)
    if target.name.endswith("Connection"):
        return _first(node, variables) * inner
    if target.name in ("PageInfo",) or target.name.endswith("Edge"):
        return inner
    return 1.0 + inner


def _first(node: FieldNode, variables: Mapping[str, Any]) -> float:
    for argument in node.arguments or ():
        if argument.name.value == "first":
            if isinstance(argument.value, IntValueNode):
                return float(argument.value.value)
            if isinstance(argument.value, VariableNode):
                return float(variables.get(argument.value.name.value) or 1)
    return 1.0


def _actual_cost(document: DocumentNode, data: Any) -> float:
    if operation_of(document).operation is OperationType.MUTATION:
        return float(_MUTATION_COST)
    return max(1.0, float(_objects(data) - 1))


def _objects(data: Any) -> int:
    if isinstance(data, dict):
        return 1 + sum(_objects(value) for value in data.values())
    return sum(_objects(value) for value in data) if isinstance(data, list) else 0


class Bucket:
    """The points one app has for one shop; the Standard plan's 2,000 at 100 a second."""

    def __init__(self, maximum: float = 2_000.0, per_second: float = 100.0) -> None:
        self.maximum, self.per_second, self._level = maximum, per_second, maximum
        self._at = time.monotonic()
        self.refused = 0
        self.spent = 0.0  # in all

    @property
    def level(self) -> float:
        """What is available now."""
        now = time.monotonic()
        self._level = min(self.maximum, self._level + (now - self._at) * self.per_second)
        self._at = now
        return self._level

    def take(self, points: float) -> bool:
        """True and taken, or False when there are too few."""
        if self.level < points:
            self.refused += 1
            return False
        self._level -= points
        self.spent += points
        return True

    def give_back(self, points: float) -> None:
        """The difference between what was asked and what it came to."""
        self._level = min(self.maximum, self._level + points)
        self.spent -= points

    def extensions(self, requested: float, actual: float | None) -> dict[str, Any]:
        """What an answer says of it."""
        status = {
            "maximumAvailable": self.maximum,
            "currentlyAvailable": int(self.level),
            "restoreRate": self.per_second,
        }
        return {
            "cost": {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}
        }


def throttled_answer(bucket: Bucket, requested: float) -> dict[str, Any]:
    """What Shopify answers, with HTTP 200, when the bucket does not hold enough."""
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
    return {"errors": [error], "extensions": bucket.extensions(requested, None)}


def answer(
    query: str, variables: Mapping[str, Any], root: Mapping[str, Any], bucket: Bucket, *, limited: bool
) -> dict[str, Any]:
    """Runs one request against the root's fields; the JSON to answer with."""
    document, errors = checked(query)
    if document is None:
        return {
            "errors": [
                {"message": error.message, "extensions": {"code": "graphqlErrors"}} for error in errors
            ]
        }
    requested = requested_cost(document, variables)
    if requested > _MOST_FOR_ONE:
        error = {"message": "Query cost exceeds the maximum", "extensions": {"code": "MAX_COST_EXCEEDED"}}
        return {"errors": [error]}
    if limited and not bucket.take(requested):
        return throttled_answer(bucket, requested)
    result = execute_sync(schema(), document, root_value=root, variable_values=dict(variables))
    actual = _actual_cost(document, result.data)
    if limited:
        bucket.give_back(requested - actual)
    body: dict[str, Any] = {"data": result.data, "extensions": bucket.extensions(requested, actual)}
    if result.errors:
        body["errors"] = [
            {"message": error.message, "extensions": error.extensions or {"code": "INTERNAL_SERVER_ERROR"}}
            for error in result.errors
        ]
    return body
