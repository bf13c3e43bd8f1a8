"""Plugins as text, for distributions to be installed from, and the registry that finds them."""

from __future__ import annotations

from ddeep.registry.discovery import discover
from ddeep.registry.registry import PluginRecord, Registry

STRATEGY = """
from ddeep import StrategySpec, hookimpl

@hookimpl
def ddeep_strategies():
    yield StrategySpec("{name}", select="anywhere:select", summary="{summary}")
"""


MODEL = """
from ddeep import ModelSpec, hookimpl

@hookimpl
def ddeep_models():
    yield ModelSpec("{name}", build="anywhere:build", pool="{pool}")
"""


def strategy(name: str, summary: str = "") -> str:
    return STRATEGY.format(name=name, summary=summary)


def model(name: str, pool: str = "mean") -> str:
    return MODEL.format(name=name, pool=pool)


def loaded(*blocked: str) -> Registry:
    return Registry(discover(), list(blocked))


def record(found: Registry, key: str) -> PluginRecord:
    return next(plugin for plugin in found.plugins if plugin.key == key)
