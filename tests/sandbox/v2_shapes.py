"""Stripe's SDK as a judge of what its OpenAPI document here does not hold: requests and answers of v2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from stripe import StripeObject
from stripe.params.v2.core import EventDestinationCreateParams
from stripe.v2.core import EventDestination


def problems(method: str, status: int, sent: str, received: bytes) -> Iterator[str]:
    """What is wrong with a request about event destinations, or with its answer."""
    answer = json.loads(received)
    if status != 200:
        if not {"type", "message"} <= set(answer["error"]):
            yield f"answered {status} without type and message"
        return
    if method == "POST":
        asked = json.loads(sent)
        known, needed = (
            EventDestinationCreateParams.__annotations__,
            EventDestinationCreateParams.__required_keys__,
        )
        yield from (f"asked for {name}, which there is not" for name in set(asked) - set(known))
        yield from (f"asked without {name}" for name in needed - set(asked))
    for shown in answer.get("data", [answer]):
        if method != "DELETE":
            yield from misfits(shown, EventDestination)


def misfits(value: Any, wanted: Any) -> Iterator[str]:
    """Where the value is not of the type that the SDK's objects say."""
    origin, choices = get_origin(wanted), get_args(wanted)
    if origin is Union:
        found = [list(misfits(value, choice)) for choice in choices]
        if all(found):
            yield min(found, key=len)[0]
    elif origin is Literal:
        if value not in choices:
            yield f"{value!r} is none of {choices}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{value!r} is no list"
    elif isinstance(wanted, type) and issubclass(wanted, StripeObject):
        yield from _of_object(value, wanted)
    elif isinstance(wanted, type) and not isinstance(value, wanted):
        yield f"{value!r} is no {wanted.__name__}"


def _of_object(value: Any, wanted: type[StripeObject]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{value!r} is no object"
        return
    if not wanted.__annotations__.keys() - {"_inner_class_types"}:
        return  # metadata: anything
    fields = {
        name: hint
        for name, hint in get_type_hints(wanted, localns=vars(wanted)).items()
        if get_origin(hint) is not ClassVar and name in wanted.__annotations__ and not name.startswith("_")
    }
    for name in value.keys() - fields.keys():
        yield f"{name} is no field of {wanted.__name__}"
    for name, hint in fields.items():
        if name in value:
            yield from (f"{name}: {problem}" for problem in misfits(value[name], hint))
        elif type(None) not in get_args(hint):
            yield f"{name} is missing"
