"""Every GraphQL document is valid on the official schema, and the sandbox's cut-out is a part of it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    NoDeprecatedCustomRule,
    build_schema,
    parse,
    specified_rules,
    validate,
)

from connectors.shopify.documents import API_VERSION, bulk_document, document
from sandbox.shopify import API_VERSION as SANDBOX_VERSION
from sandbox.shopify_graphql import schema as cut_out

ROOT = Path(__file__).parents[3]
OPERATIONS = sorted(path.stem for path in (ROOT / "connectors/shopify/operations").glob("*.graphql"))
OFFICIAL = ROOT.parent / f"shared/reference/shopify/admin-schema-{API_VERSION}.graphql.gz"
RULES = [*specified_rules, NoDeprecatedCustomRule]


@pytest.fixture(scope="module")
def official() -> GraphQLSchema:
    if not OFFICIAL.exists():
        pytest.skip("the official schema is not beside this checkout")
    sdl = gzip.decompress(OFFICIAL.read_bytes()).decode()
    # The schema breaks a few of graphql-core's own rules, so it is taken as valid.
    return build_schema(sdl, assume_valid=True, no_location=True)


def complaints(schema: GraphQLSchema, text: str) -> list[str]:
    return [error.message for error in validate(schema, parse(text), RULES)]


def test_there_are_operations() -> None:
    assert len(OPERATIONS) > 10
    assert SANDBOX_VERSION == API_VERSION


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_valid_and_uses_nothing_deprecated(official: GraphQLSchema, name: str) -> None:
    assert complaints(official, document(name)) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_sandbox_knows_every_operation(name: str) -> None:
    assert complaints(cut_out(), document(name)) == []


def test_the_check_sees_what_is_deprecated(official: GraphQLSchema) -> None:
    assert complaints(official, "{ currentBulkOperation { id } }")
    assert complaints(official, "{ shop { noSuchField } }")


PHONE = {"defaultPhoneNumber", "phoneNumber"}
PEOPLE = PHONE | {"firstName", "lastName", "email", "defaultEmailAddress", "emailAddress", "marketingState"}
# Each bulk query that asks for less, the whole one, and what alone it leaves out.
LESS = {
    "bulk_customers_no_phone": ("bulk_customers", PHONE),
    "bulk_customers_hidden": ("bulk_customers", PEOPLE),
    "bulk_orders_hidden": ("bulk_orders", PEOPLE),
}
BULK = ["bulk_customers", "bulk_orders", *LESS]


@pytest.mark.parametrize("name", BULK)
def test_a_bulk_query_takes_its_search_as_text(official: GraphQLSchema, name: str) -> None:
    text = bulk_document(name, "updated_at:>='2026-11-01T00:00:00Z'")
    assert "updated_at:>='2026-11-01T00:00:00Z'" in text
    assert complaints(official, text) == []
    assert text.count("edges") == 1, "a nested connection would put rows on lines of their own"


@pytest.mark.parametrize("name", [name for name in BULK if "customers" in name])
def test_a_bulk_query_reads_the_metafield_that_the_merchant_names(official: GraphQLSchema, name: str) -> None:
    text = bulk_document(name, "", ("loyalty", "born_on"))
    assert 'metafield(namespace: "loyalty", key: "born_on")' in text
    assert "facts" not in text
    assert complaints(official, text) == []


@pytest.mark.parametrize("name", LESS)
def test_a_bulk_query_that_asks_for_less_leaves_out_people_alone(name: str) -> None:
    whole, left_out = _fields(document(LESS[name][0])), LESS[name][1]
    asked = _fields(document(name))
    assert asked < whole
    assert whole - asked <= left_out
    assert not asked & left_out


def _fields(text: str) -> set[str]:
    return set(re.findall(r"\b[a-z]\w+\b", re.sub(r"#.*", "", text)))


def test_the_cut_out_is_contained_in_the_official_schema(official: GraphQLSchema) -> None:
    ours = {name: kind for name, kind in cut_out().type_map.items() if not name.startswith("__")}
    assert len(ours) > 60
    for name, kind in ours.items():
        theirs = official.type_map[name]
        assert type(kind) is type(theirs), name
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            assert isinstance(theirs, GraphQLObjectType | GraphQLInterfaceType)
            assert {i.name for i in kind.interfaces} <= {i.name for i in theirs.interfaces}, name
            for field_name, field in kind.fields.items():
                whole = theirs.fields[field_name]
                assert str(field.type) == str(whole.type), (name, field_name)
                _arguments_are_contained(f"{name}.{field_name}", field.args, whole.args)
        elif isinstance(kind, GraphQLInputObjectType):
            assert isinstance(theirs, GraphQLInputObjectType)
            assert kind.is_one_of == theirs.is_one_of, name
            _arguments_are_contained(name, kind.fields, theirs.fields)
        elif isinstance(kind, GraphQLEnumType):
            assert isinstance(theirs, GraphQLEnumType)
            assert set(kind.values) <= set(theirs.values), name
        elif isinstance(kind, GraphQLUnionType):
            assert isinstance(theirs, GraphQLUnionType)
            assert {t.name for t in kind.types} <= {t.name for t in theirs.types}, name


def _arguments_are_contained(where: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    for name, argument in ours.items():
        assert str(argument.type) == str(theirs[name].type), (where, name)  # type: ignore[attr-defined]
    for name, argument in theirs.items():
        is_needed = str(argument.type).endswith("!") and not _has_default(argument)  # type: ignore[attr-defined]
        assert name in ours or not is_needed, (where, name)


def _has_default(argument: object) -> bool:
    return getattr(argument, "default", None) is not None
