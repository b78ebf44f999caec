"""The docstring under a field is its description."""

from typing import Generic, TypeVar

from pydantic import Field

from tunesmith.core.described import Described, descriptions

Item = TypeVar("Item")


class Parent(Described):
    kept: int = 0
    """Said
    on two lines."""
    told: int = 0
    """Of the parent."""
    silent: int = 0
    own: int = Field(0, description="As the field says.")
    """Not this."""


class Child(Parent, Generic[Item]):
    told: int = 1
    """Of the child."""
    item: Item | None = Field(None, alias="anItem")
    """Any."""


def test_docstrings_are_descriptions_and_a_childs_stand_above_its_parents() -> None:
    expected = {"kept": "Said\non two lines.", "told": "Of the child.", "own": "Not this.", "item": "Any."}
    assert descriptions(Child) == expected
    assert descriptions(Parent) == {k: v for k, v in expected.items() if k != "item"} | {"told": "Of the parent."}


def test_the_schema_has_them_under_the_names_that_it_shows() -> None:
    shown = Child[Parent].model_json_schema()["properties"]
    assert shown["anItem"]["description"] == "Any."
    assert shown["told"]["description"] == "Of the child."
    assert shown["own"]["description"] == "As the field says."
    assert "description" not in shown["silent"]
