"""How Stripe lists, reads forms and refuses: paging newest first, bracketed parameters, error objects."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from sandbox.stripe_objects import Json, Row

R = TypeVar("R", bound=Row)

_PAGING = {"limit", "starting_after", "ending_before", "created", "expand"}
_RANGE = {"gt", "gte", "lt", "lte"}


class StripeRefusal(Exception):
    """An error answer; `code` and `param` as Stripe names them."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        is_kept: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_kept = is_kept  # what came past the checks of parameters is replayed like any other answer
        self.error: Json = {"type": type, "message": message}
        if code:
            self.error |= {
                "code": code,
                "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
            }
        if param:
            self.error["param"] = param


class Shelf(Generic[R]):
    """All objects of one kind by time of creation, oldest first; those of one second in the order they came."""

    def __init__(self, rows: Iterable[R] = ()) -> None:
        self.rows = sorted(rows, key=_created)
        self.by_id = {row.id: row for row in self.rows}

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: R) -> None:
        insort(self.rows, row, key=_created)
        self.by_id[row.id] = row

    def remove(self, row: R) -> None:
        del self.rows[self._index(row)]
        del self.by_id[row.id]

    def get(self, external_id: str, param: str) -> R:
        """The object, or Stripe's 404."""
        row = self.by_id.get(external_id)
        if row is None:
            kind = param.replace("_", " ")
            raise StripeRefusal(
                f"No such {kind}: '{external_id}'", status=404, code="resource_missing", param=param
            )
        return row

    def page(self, query: Mapping[str, Any], keep: Callable[[R], bool] | None = None) -> tuple[list[R], bool]:
        """One page, newest first, and whether there is more in the direction asked for."""
        low, high = self._bounds(query.get("created"))
        limit = _limit(query.get("limit"))
        if before := query.get("ending_before"):
            low = max(low, self._index(self._cursor(before, "ending_before")) + 1)
            found = self._walk(range(low, high), limit, keep)
            return found[:limit][::-1], len(found) > limit
        if after := query.get("starting_after"):
            high = min(high, self._index(self._cursor(after, "starting_after")))
        found = self._walk(range(high - 1, low - 1, -1), limit, keep)
        return found[:limit], len(found) > limit

    def _walk(self, indexes: range, limit: int, keep: Callable[[R], bool] | None) -> list[R]:
        found: list[R] = []
        for index in indexes:
            row = self.rows[index]
            if keep is None or keep(row):
                found.append(row)
                if len(found) > limit:
                    break
        return found

    def _cursor(self, external_id: str, param: str) -> R:
        row = self.by_id.get(external_id)
        if row is None:
            raise StripeRefusal(f"No such object: '{external_id}'", code="resource_missing", param=param)
        return row

    def _index(self, row: R) -> int:
        index = bisect_left(self.rows, row.created, key=_created)
        while self.rows[index] is not row:
            index += 1
        return index

    def _bounds(self, created: Any) -> tuple[int, int]:
        """The half-open stretch of rows within a `created` filter."""
        if created is None:
            return 0, len(self.rows)
        if isinstance(created, str):
            created = {"gte": created, "lte": created}
        if unknown := set(created) - _RANGE:
            raise unknown_parameter(f"created[{unknown.pop()}]")
        low, high = 0, len(self.rows)
        for name, text in created.items():
            moment = _integer(text, f"created[{name}]")
            after = bisect_right(self.rows, moment, key=_created)
            at = bisect_left(self.rows, moment, key=_created)
            if name in ("gt", "gte"):
                low = max(low, after if name == "gt" else at)
            else:
                high = min(high, at if name == "lt" else after)
        return low, max(low, high)


def check_names(given: Mapping[str, Any], allowed: set[str], *, is_list: bool = False) -> None:
    """Stripe refuses parameters it does not know."""
    if unknown := set(given) - allowed - (_PAGING if is_list else {"expand"}):
        raise unknown_parameter(sorted(unknown)[0])


def unknown_parameter(name: str) -> StripeRefusal:
    return StripeRefusal(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b]=1`, `a[]=1` and `a[0]=1` as nested dicts and lists."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        keys = name.replace("]", "").split("[")
        place = tree
        for key in keys[:-1]:
            deeper = place.setdefault(key, {})
            if not isinstance(deeper, dict):
                raise StripeRefusal("Invalid object", param=keys[0])
            place = deeper
        place[keys[-1] or str(len(place))] = value
    return {key: _lists(value) for key, value in tree.items()}


def form(body: bytes) -> dict[str, Any]:
    """A form body as nested parameters."""
    return nested(parse_qsl(body.decode(), keep_blank_values=True))


def expansions(params: Mapping[str, Any], prefix: str = "") -> frozenset[str]:
    """What is to be expanded; in a list the names start with "data."."""
    return frozenset(str(name).removeprefix(prefix) for name in params.get("expand") or ())


def merged(old: dict[str, str], new: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata is merged key by key; an empty value takes a key out."""
    return {key: value for key, value in {**old, **(new or {})}.items() if value != ""}


def integer(params: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or None when it was not given."""
    return _integer(params[name], name) if name in params else None


def boolean(params: Mapping[str, Any], name: str) -> bool | None:
    """True or false, or None when it was not given."""
    text = params.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise StripeRefusal(f"Invalid boolean: {text}", param=name)
    return bool(text == "true")


def _integer(text: Any, param: str) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise StripeRefusal(
            f"Invalid integer: {text}", code="parameter_invalid_integer", param=param
        ) from None


def _limit(text: Any) -> int:
    limit = 10 if text is None else _integer(text, "limit")
    if not 1 <= limit <= 100:
        raise StripeRefusal("Invalid limit: it must be between 1 and 100", param="limit")
    return limit


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(child) for key, child in value.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _created(row: Row) -> int:
    return row.created
