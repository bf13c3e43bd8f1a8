"""The registry: what the installed plugins provide, by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Generic, Literal, TypeVar, cast, overload

from ..errors import PluginError, suggestion
from .discovery import (
    BLOCK_VARIABLE,
    BUILTIN,
    SPEC_TYPES,
    Discovered,
    PluginRecord,
    block_patterns,
    block_reason,
    blocked_record,
    discover,
    load_plugin,
    normalized,
)
from .own_code import is_own_code, own_model
from .specs import (
    DatasetFamily,
    DatasetSpec,
    ExecutionSpec,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    RegularizerSpec,
    Spec,
    StrategySpec,
    resolve,
)

__all__ = ["Catalog", "PluginRecord", "PluginWarning", "Registry", "registry"]

S = TypeVar("S", bound=Spec)

_PLURALS = {
    "model": "models",
    "dataset": "datasets",
    "strategy": "strategies",
    "metric": "metrics",
    "regularizer": "regularizers",
    "execution": "executions",
}


_OWN = " A network of your own is --model FILE.py:NAME or --model package.module:NAME."


class PluginWarning(UserWarning):
    """A plugin was skipped, or part of it is ignored."""


class Catalog(Mapping[str, S], Generic[S]):
    """The specs of one kind by name, in sorted order.

    A name that two plugins provide is in the catalog, but reading its spec raises PluginError.
    """

    def __init__(self, singular: str, provided: dict[str, dict[str, S]]) -> None:
        self._singular = singular
        self._provided = {name: provided[name] for name in sorted(provided)}

    def __getitem__(self, name: str) -> S:
        providers = self._provided[name]
        if len(providers) > 1:
            raise PluginError(self._conflict(name, sorted(providers)))
        return next(iter(providers.values()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._provided)

    def __len__(self) -> int:
        return len(self._provided)

    def __contains__(self, name: object) -> bool:
        return name in self._provided

    def provider(self, name: str) -> str:
        """The key (``distribution:entry_point``) of the plugin that provides ``name``."""
        self[name]
        return next(iter(self._provided[name]))

    def unambiguous(self) -> list[S]:
        """The specs of all names that one plugin alone provides, in order; ``conflicts`` tells of the others."""
        return [spec for found in self._provided.values() if len(found) == 1 for spec in found.values()]

    def conflicts(self) -> list[str]:
        """One message for each name that several plugins provide."""
        return [self._conflict(name, sorted(found)) for name, found in self._provided.items() if len(found) > 1]

    def _conflict(self, name: str, keys: list[str]) -> str:
        # Suggest blocking a stranger rather than a built-in.
        blocked = next((key for key in reversed(keys) if normalized(key.partition(":")[0]) != BUILTIN), keys[-1])
        return (
            f"{len(keys)} plugins provide the {self._singular} {name!r}: {' and '.join(keys)}. "
            f"Block one, with {BLOCK_VARIABLE}={blocked} for instance, or uninstall its package."
        )


class Registry:
    """Everything the plugins provide. ``registry()`` gives the process's own."""

    models: Catalog[ModelSpec | ModelFamily]
    datasets: Catalog[DatasetSpec | DatasetFamily]
    strategies: Catalog[StrategySpec]
    metrics: Catalog[MetricSpec]
    regularizers: Catalog[RegularizerSpec]
    executions: Catalog[ExecutionSpec]

    def __init__(self, discovered: list[Discovered], blocked: list[str]) -> None:
        """Load what ``discovered`` lists, in that order, but for what the patterns in ``blocked`` name."""
        records: list[PluginRecord] = []
        provided: dict[str, dict[str, dict[str, Spec]]] = {plural: {} for plural in SPEC_TYPES}
        for plugin in discovered:
            if reason := block_reason(plugin, blocked):
                records.append(blocked_record(plugin, reason))
                continue
            record, specs = load_plugin(plugin)
            records.append(record)
            for plural, yielded in specs.items():
                for spec in yielded:
                    provided[plural].setdefault(spec.name, {})[plugin.key] = spec
        self.plugins = tuple(records)
        for singular, plural in _PLURALS.items():
            setattr(self, plural, Catalog(singular, provided[plural]))

    def catalog(self, plural: str) -> Catalog[Spec]:
        """The mapping called ``plural``: models, datasets, strategies, metrics, regularizers or executions."""
        return cast(Catalog[Spec], getattr(self, plural))

    def conflicts(self) -> list[str]:
        """One message for each name that several plugins provide."""
        return [message for plural in SPEC_TYPES for message in self.catalog(plural).conflicts()]

    def versions(self) -> dict[str, str]:
        """``{distribution:entry_point: version}`` of the loaded plugins, for result files."""
        return {record.key: record.version for record in self.plugins if record.status == "loaded"}

    @overload
    def find(self, kind: Literal["model"], name: str) -> ModelSpec: ...
    @overload
    def find(self, kind: Literal["dataset"], name: str) -> DatasetSpec: ...
    @overload
    def find(self, kind: Literal["strategy"], name: str) -> StrategySpec: ...
    @overload
    def find(self, kind: Literal["metric"], name: str) -> MetricSpec: ...
    @overload
    def find(self, kind: Literal["regularizer"], name: str) -> RegularizerSpec: ...
    @overload
    def find(self, kind: Literal["execution"], name: str) -> ExecutionSpec: ...
    def find(self, kind: str, name: str) -> Spec:
        """The spec of that name, ``"timm/resnet18"`` through the family ``timm``, ``"FILE.py:NAME"`` of one's own code,
        ``"wds:PATTERN"`` through the family of datasets ``wds``.

        Raises PluginError where nobody or more than one plugin provides it.
        """
        catalog = self.catalog(_PLURALS[kind])
        if kind == "model" and name not in catalog and is_own_code(name):
            return own_model(name)
        if kind == "dataset" and name not in catalog:
            return self._dataset(name)
        prefix, slash, member = name.partition("/")
        spec = catalog.get(prefix if slash else name)
        if isinstance(spec, DatasetFamily):
            raise PluginError(f"{spec.name!r} is a family of datasets: name one of them, as {spec.name}:<place>.")
        if isinstance(spec, ModelFamily) and member:
            return self._member(spec, member)
        if isinstance(spec, ModelFamily):
            raise PluginError(
                f"{spec.name!r} is a family of models: name one of them, as {spec.name}/<model>. "
                f"See them all with: ddeep list models '{spec.name}/*'."
            )
        if spec is None or slash:
            return self._unknown(kind, name, list(catalog))
        return spec

    def _dataset(self, name: str) -> DatasetSpec:
        """One of a family: ``family:place``."""
        prefix, _, place = name.partition(":")
        family = self.datasets.get(prefix)
        if not isinstance(family, DatasetFamily) or not place:
            return cast(DatasetSpec, self._unknown("dataset", name, list(self.datasets)))
        spec = resolve(family.resolve)(place)
        if not isinstance(spec, DatasetSpec):
            provider = self.datasets.provider(prefix)
            raise PluginError(
                f"The family {prefix!r} of {provider} resolved {place!r} to {type(spec).__name__}, not DatasetSpec."
            )
        return spec

    def _member(self, family: ModelFamily, member: str) -> ModelSpec:
        try:
            spec = resolve(family.resolve)(member)
        except LookupError:
            return self._unknown_member(family, member)
        if not isinstance(spec, ModelSpec):
            provider = self.models.provider(family.name)
            raise PluginError(
                f"The family {family.name!r} of {provider} resolved {member!r} to {type(spec).__name__}, not ModelSpec."
            )
        return spec

    def _unknown_member(self, family: ModelFamily, member: str) -> ModelSpec:
        names = [f"{family.name}/{known}" for known in resolve(family.names)()]
        return cast(ModelSpec, self._unknown("model", f"{family.name}/{member}", names, f" '{family.name}/*'"))

    def _unknown(self, kind: str, name: str, known: list[str], pattern: str = "") -> Spec:
        lost = [f"{record.key} ({record.error})" for record in self.plugins if record.status != "loaded"]
        missing = f" Perhaps it belongs to a plugin that was not loaded: {'; '.join(lost)}." if lost else ""
        raise PluginError(
            f"No {kind} is called {name!r}.{suggestion(name, known)} "
            f"See them all with: ddeep list {_PLURALS[kind]}{pattern}.{_OWN if kind == 'model' else ''}{missing}"
        )


@cache
def registry() -> Registry:
    """The registry of this process, loaded on the first call. Plugins that failed are warned about, once."""
    discovered, blocked = discover(), block_patterns()
    loaded = Registry(discovered, blocked)
    for pattern in blocked:
        if pattern != "*" and not any(block_reason(plugin, [pattern]) for plugin in discovered):
            near = suggestion(pattern, [plugin.key for plugin in discovered])
            warnings.warn(
                f"{BLOCK_VARIABLE} names {pattern!r}, which is not installed.{near}", PluginWarning, stacklevel=2
            )
    for record in loaded.plugins:
        if record.status == "failed":
            warnings.warn(f"Plugin {record.key} was skipped: {record.error}", PluginWarning, stacklevel=2)
        elif record.status == "loaded" and record.error:
            warnings.warn(f"Plugin {record.key}: {record.error}", PluginWarning, stacklevel=2)
    return loaded
