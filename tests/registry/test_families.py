"""Families of models: many under one prefix, looked into only when asked."""

from __future__ import annotations

import sys

import pytest

from ddeep import ModelFamily
from ddeep.errors import PluginError
from ddeep.registry.discovery import discover
from ddeep.registry.registry import Registry
from tests.support.helpers import Distributions

FAMILY = """
from ddeep import ModelFamily, ModelSpec, hookimpl

@hookimpl
def ddeep_models():
    yield ModelFamily("zoo", names="{module}:names", resolve="{module}:resolve", summary="all animals")
"""
MEMBERS = """
from ddeep import ModelSpec

KNOWN = {"lion": ModelSpec("zoo/lion", build="a:b"), "lynx": ModelSpec("zoo/lynx", build="a:b"), "stone": 3}
names = KNOWN.keys
resolve = KNOWN.__getitem__
"""


def zoo(distributions: Distributions) -> Registry:
    members = distributions.module("zoo_members", MEMBERS)
    distributions.install("zoo", FAMILY.format(module=members))
    return Registry(discover(), [])


def test_a_family_resolves_its_members_when_asked(distributions: Distributions) -> None:
    found = zoo(distributions)
    assert isinstance(found.models["zoo"], ModelFamily)
    assert "zoo_members" not in sys.modules
    assert found.find("model", "zoo/lion").name == "zoo/lion"


def test_an_unknown_member_of_a_family(distributions: Distributions) -> None:
    with pytest.raises(
        PluginError, match=r"No model is called 'zoo/lyon'\. Did you mean .*list models 'zoo/\*'"
    ) as caught:
        zoo(distributions).find("model", "zoo/lyon")
    assert "'zoo/lion'" in str(caught.value)


@pytest.mark.parametrize("name", ["zoo", "zoo/"])
def test_a_family_is_no_model(distributions: Distributions, name: str) -> None:
    with pytest.raises(PluginError, match=r"'zoo' is a family of models.*ddeep list models 'zoo/\*'"):
        zoo(distributions).find("model", name)
    assert "zoo_members" not in sys.modules


def test_a_family_must_resolve_to_model_specs(distributions: Distributions) -> None:
    with pytest.raises(PluginError, match=r"zoo:plugin resolved 'stone' to int, not ModelSpec"):
        zoo(distributions).find("model", "zoo/stone")


def test_a_slash_after_what_is_no_family() -> None:
    with pytest.raises(PluginError, match="No model is called 'resnet20/x'"):
        Registry(discover(), []).find("model", "resnet20/x")


def test_list_shows_a_family_as_one_line_and_looks_inside_on_request(distributions: Distributions) -> None:
    zoo(distributions)
    listed = distributions.cli("list", "models")
    assert [line.split()[0] for line in listed.out.splitlines() if "zoo" in line] == ["zoo/…"]
    inside = distributions.cli("list", "models", "zoo/l*", "--json")
    assert [entry["name"] for entry in inside.json["models"]] == ["zoo/lion", "zoo/lynx"]
