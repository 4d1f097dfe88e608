"""Stripe's OpenAPI document as a judge of requests and answers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from connectors.stripe.client import API_VERSION

DOCUMENT = Path(__file__).parents[3] / "shared" / "reference" / "stripe" / "openapi-subset.json.gz"
_FORM = "application~1x-www-form-urlencoded"
_JSON = "application~1json"


class Spec:
    """The document; every check gives the list of what is wrong."""

    @cached_property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(gzip.decompress(DOCUMENT.read_bytes()))
        # The document is two versions older than the one that we pin, and lists the versions that it knows.
        body = found["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"]["content"]
        form = body["application/x-www-form-urlencoded"]["schema"]
        form["properties"]["api_version"]["enum"].append(API_VERSION)
        return found

    @cached_property
    def _registry(self) -> Registry[Any]:
        resource = Resource.from_contents(self.document, default_specification=DRAFT4)
        registry: Registry[Any] = Registry().with_resource("urn:s", resource)
        return registry

    def resource(self, kind: str, value: object) -> list[str]:
        """An object of the API, e.g. "promotion_code"."""
        return self._errors(f"/components/schemas/{kind}", value)

    def request(self, method: str, path: str, query: str, body: str) -> list[str]:
        """A request as it was sent: the path is known, the query's and form's names and types fit."""
        template = self._template(path)
        operation = self.document["paths"].get(template, {}).get(method.lower())
        if operation is None:
            return [f"no such operation: {method} {path}"]
        problems = list(self._query(operation, template, method.lower(), query))
        if body:
            pointer = f"/paths/{_escaped(template)}/{method.lower()}/requestBody/content/{_FORM}/schema"
            schema = self._at(pointer)
            problems += self._errors(
                pointer, self._typed(_nested(parse_qsl(body, keep_blank_values=True)), schema)
            )
        return problems

    def answer(self, method: str, path: str, status: int, value: object) -> list[str]:
        """An answer's JSON."""
        template, kind = self._template(path), "200" if status == 200 else "default"
        return self._errors(
            f"/paths/{_escaped(template)}/{method.lower()}/responses/{kind}/content/{_JSON}/schema", value
        )

    def _query(self, operation: Mapping[str, Any], template: str, method: str, query: str) -> Iterator[str]:
        given = _nested(parse_qsl(query, keep_blank_values=True))
        parameters = operation.get("parameters", [])
        known = {p["name"]: index for index, p in enumerate(parameters) if p["in"] == "query"}
        for name, value in given.items():
            if name not in known:
                yield f"{template}: unknown query parameter {name}"
                continue
            pointer = f"/paths/{_escaped(template)}/{method}/parameters/{known[name]}/schema"
            yield from self._errors(pointer, self._typed(value, self._at(pointer)))
        if not 1 <= int(given.get("limit", 10)) <= 100:
            yield "limit must be 1 to 100"

    def _errors(self, pointer: str, value: object) -> list[str]:
        validator = OAS30Validator({"$ref": f"urn:s#{pointer}"}, registry=self._registry)
        return [
            f"{list(error.absolute_path)}: {error.message[:300]}" for error in validator.iter_errors(value)
        ]

    def _template(self, path: str) -> str:
        if path in self.document["paths"]:
            return path
        for template in self.document["paths"]:
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return str(template)
        return path

    def _at(self, pointer: str) -> dict[str, Any]:
        place: Any = self.document
        for step in pointer.strip("/").split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            place = place[int(step)] if isinstance(place, list) else place[step]
        return self._resolved(place)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._at(schema["$ref"].removeprefix("#"))
        return schema

    def _typed(self, value: Any, schema: dict[str, Any]) -> Any:
        """Texts of a form as the types that the schema wants; left alone where it wants none of them."""
        choices = [self._resolved(choice) for choice in schema.get("anyOf", [schema])]
        if isinstance(value, dict):
            return self._typed_object(value, choices)
        if isinstance(value, list):
            items: dict[str, Any] = next((c["items"] for c in choices if c.get("type") == "array"), {})
            return [self._typed(item, self._resolved(items)) for item in value]
        kinds = {choice.get("type") for choice in choices}
        if "boolean" in kinds and value in ("true", "false"):
            return value == "true"
        if "integer" in kinds and re.fullmatch(r"-?\d+", value):
            return int(value)
        if "number" in kinds and re.fullmatch(r"-?\d+(\.\d+)?", value):
            return float(value)
        return value

    def _typed_object(self, value: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
        chosen: dict[str, Any] = next((c for c in choices if c.get("type") == "object"), {})
        named, others = chosen.get("properties", {}), chosen.get("additionalProperties")
        fallback = others if isinstance(others, dict) else {}
        return {
            key: self._typed(inner, self._resolved(named.get(key, fallback))) for key, inner in value.items()
        }


def _escaped(template: str) -> str:
    return template.replace("~", "~0").replace("/", "~1")


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        keys = [key.rstrip("]") for key in name.split("[")]
        place = tree
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1] or str(len(place))] = value
    return {key: _listed(value) for key, value in tree.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(child) for key, child in value.items()}
    return list(inner.values()) if inner and all(key.isdigit() for key in inner) else inner
