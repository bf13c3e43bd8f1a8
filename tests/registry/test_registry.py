"""The loader's rules, against real distributions that importlib.metadata finds on the path."""

from __future__ import annotations

import sys
import warnings

import pytest

from ddeep import DatasetFamily, DatasetSpec, ModelFamily, ModelSpec
from ddeep.errors import PluginError
from ddeep.registry.discovery import SPEC_TYPES, block_patterns
from ddeep.registry.registry import PluginWarning, registry
from ddeep.registry.specs import resolve
from tests.support.helpers import Distributions
from tests.support.written import loaded, record, strategy


def test_a_plugin_provides_its_specs_under_its_key(distributions: Distributions) -> None:
    distributions.install("acme", strategy("acme-random", "at random"), version="2.1")
    found = loaded()
    assert found.strategies["acme-random"].summary == "at random"
    assert found.strategies.provider("acme-random") == "acme:plugin"
    assert found.versions()["acme:plugin"] == "2.1"
    assert record(found, "acme:plugin").provides == {"strategies": ("acme-random",)}
    assert record(found, "acme:plugin").status == "loaded"


def test_the_built_ins_come_through_the_same_entry_points() -> None:
    found = loaded()
    assert record(found, "ddeep:models").status == "loaded"
    assert found.models.provider("resnet20") == "ddeep:models"


# The least that each hook may yield. A new hook needs a line here.
MINIMAL = {
    "ddeep_models": "ModelSpec('least', build='a:b')",
    "ddeep_datasets": "DatasetSpec('least', open='a:b')",
    "ddeep_strategies": "StrategySpec('least', select='a:b')",
    "ddeep_metrics": "MetricSpec('least', measure='a:b')",
    "ddeep_regularizers": "RegularizerSpec('least', build='a:b')",
    "ddeep_executions": "ExecutionSpec('least', gather='a:b')",
}


@pytest.mark.parametrize("hook", [f"ddeep_{kind}" for kind in SPEC_TYPES])
def test_every_hook_takes_the_least_of_specs(distributions: Distributions, hook: str) -> None:
    spec = MINIMAL[hook]
    distributions.install("acme", f"import ddeep\n@ddeep.hookimpl\ndef {hook}():\n    yield ddeep.{spec}")
    found = loaded()
    kind = hook.removeprefix("ddeep_")
    assert record(found, "acme:plugin").provides == {kind: ("least",)}
    assert repr(found.catalog(kind)["least"]).startswith(spec.partition("(")[0])


def test_plugins_load_in_sorted_order_of_their_keys(distributions: Distributions) -> None:
    for name in ("zeta", "acme", "mid"):
        distributions.install(name, strategy(name))
    keys = [plugin.key for plugin in loaded().plugins]
    assert keys == sorted(keys)
    assert {"zeta:plugin", "acme:plugin", "mid:plugin"} < set(keys)


def test_a_misspelt_hook_is_reported_with_the_right_one(distributions: Distributions) -> None:
    code = strategy("kept") + strategy("lost").replace("ddeep_strategies", "ddeep_model")
    distributions.install("typo", code)
    found = loaded()
    assert record(found, "typo:plugin").status == "loaded"
    assert "unknown hook 'ddeep_model'. Did you mean 'ddeep_models'" in record(found, "typo:plugin").error
    assert "kept" in found.strategies


def test_a_forgotten_hookimpl_is_reported(distributions: Distributions) -> None:
    distributions.install("bare", strategy("lost").replace("@hookimpl", ""))
    assert "put @hookimpl above it" in record(loaded(), "bare:plugin").error


def test_a_plugin_without_hooks_is_reported(distributions: Distributions) -> None:
    distributions.install("empty", "x = 1")
    assert record(loaded(), "empty:plugin").error.startswith("it implements no hook (of ddeep_models, ")


@pytest.mark.parametrize("pattern", ["my-pkg", "My_Pkg", "my-pkg:plugin"])
def test_a_blocked_plugin_is_not_even_imported(distributions: Distributions, pattern: str) -> None:
    module = distributions.install("my-pkg", strategy("blocked"))
    found = loaded(pattern)
    assert record(found, "my-pkg:plugin").status == "blocked"
    assert pattern in record(found, "my-pkg:plugin").error
    assert "blocked" not in found.strategies
    assert module not in sys.modules


def test_blocking_one_entry_point_leaves_the_others(distributions: Distributions) -> None:
    distributions.install("acme", strategy("one"), entry="first")
    assert "one" in loaded("acme:second").strategies


def test_the_environment_blocks(distributions: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    distributions.install("acme", strategy("one"))
    monkeypatch.setenv("DDEEP_BLOCK", " acme:plugin , acmee,, ")
    assert block_patterns() == ["acme:plugin", "acmee"]
    with pytest.warns(PluginWarning, match="names 'acmee', which is not installed. Did you mean 'acme:plugin'"):
        found = registry()
    assert record(found, "acme:plugin").status == "blocked"


def test_no_plugins_leaves_the_built_ins(distributions: Distributions) -> None:
    distributions.install("acme", strategy("acme-random"))
    plugins = distributions.cli("--no-plugins", "plugins", "--json").json["plugins"]
    assert {entry["key"]: entry["status"] for entry in plugins}["acme:plugin"] == "blocked"
    assert {entry["status"] for entry in plugins if entry["distribution"] == "ddeep"} == {"loaded"}
    assert "acme-random" not in distributions.cli("--no-plugins", "list", "strategies").out


def test_an_unknown_name_suggests_near_ones_and_mentions_what_failed(distributions: Distributions) -> None:
    distributions.install("acme", strategy("papier"))
    distributions.install("broken", "import a_library_that_nobody_has")
    with pytest.raises(PluginError) as caught:
        loaded("zzz").find("strategy", "papierr")
    message = str(caught.value)
    assert message.startswith("No strategy is called 'papierr'. Did you mean 'papier'")
    assert "ddeep list strategies" in message
    assert "broken:plugin (ModuleNotFoundError" in message


def test_an_unknown_name_far_from_all_still_says_where_to_look() -> None:
    with pytest.raises(PluginError, match=r"No dataset is called 'xyzzy'\. See them all with: ddeep list datasets"):
        loaded().find("dataset", "xyzzy")


@pytest.mark.parametrize("reference", ["nowhere_at_all:build", "ddeep.registry.specs:nothing"])
def test_what_a_spec_names_must_exist_when_it_is_used(reference: str) -> None:
    with pytest.raises(PluginError, match=f"Cannot load '{reference}', which a plugin names"):
        resolve(reference)


def test_failures_are_warned_about_once(distributions: Distributions) -> None:
    distributions.install("broken", "import a_library_that_nobody_has")
    with pytest.warns(PluginWarning, match="broken:plugin was skipped: ModuleNotFoundError"):
        first = registry()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry() is first


def test_catalogs_are_sorted_mappings() -> None:
    found = loaded()
    assert list(found.models) == sorted(found.models)
    assert len(found.models) == len(list(found.models))
    assert all(isinstance(spec, ModelSpec | ModelFamily) for spec in found.models.values())
    assert all(isinstance(spec, DatasetSpec | DatasetFamily) for spec in found.datasets.values())
    with pytest.raises(KeyError):
        found.models["xyzzy"]


def test_the_commands_show_a_failed_plugin_and_go_on(distributions: Distributions) -> None:
    distributions.install("broken", "import a_library_that_nobody_has")
    listed = distributions.cli("list", "models")
    assert listed.status == 0
    assert "resnet20" in listed.out
    assert listed.err.count("broken:plugin") == 1
    table = distributions.cli("plugins")
    assert table.status == 0
    row = next(line for line in table.out.splitlines() if line.startswith("broken:plugin"))
    assert "failed" in row
    assert "ModuleNotFoundError" in row
