"""The loader's rules, against real distributions that importlib.metadata finds on the path."""

from __future__ import annotations

import sys
import warnings

import pytest

from ddeep import DatasetSpec, ModelFamily, ModelSpec
from ddeep.errors import PluginError
from ddeep.registry.discovery import SPEC_TYPES, block_patterns, discover
from ddeep.registry.registry import PluginRecord, PluginWarning, Registry, registry
from ddeep.registry.specs import resolve
from tests.support.helpers import Distributions

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


BROKEN = {
    "raises what Ctrl-C raises": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "raises GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "raises an exception of its own": (
        "class Mine(BaseException):\n    def __str__(self):\n        raise ValueError\nraise Mine",
        "Mine",
    ),
    "ends the process while importing": ("import os\nos._exit(0)", "it would end the process (os._exit(0))"),
    "ends the process while yielding": (
        strategy("half-there") + "    __import__('os')._exit(0)",
        "it would end the process",
    ),
    "fails to import": ("import a_library_that_nobody_has", "ModuleNotFoundError"),
    "exits while importing": ("raise SystemExit('goodbye')", "goodbye"),
    "is no Python": ("def (", "SyntaxError"),
    "fails while yielding": (
        strategy("half-there") + "    raise RuntimeError('the moon is wrong')",
        "RuntimeError: the moon is wrong",
    ),
    "returns nothing": ("from ddeep import hookimpl\n@hookimpl\ndef ddeep_models(): pass", "TypeError"),
    "yields another hook's spec": (
        strategy("stray").replace("ddeep_strategies", "ddeep_metrics"),
        "ddeep_metrics yielded StrategySpec(name='stray'",
    ),
    "yields one name twice": (strategy("twin") + strategy("twin").splitlines()[-1], "two specs named 'twin'"),
    "yields an empty name": (strategy(""), "StrategySpec ''"),
    "yields a name with a space": (strategy("my strategy"), "no spaces"),
    "yields a name with a slash": (strategy("my/strategy"), "slashes"),
    "names no module": (strategy("vague").replace("anywhere:select", "select"), "package.module:name"),
    "asks for an argument": (
        strategy("needy").replace("ddeep_strategies()", "ddeep_strategies(weather)"),
        "PluginValidationError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_reported_and_skipped(distributions: Distributions, case: str) -> None:
    code, message = BROKEN[case]
    distributions.install("broken", code)
    distributions.install("sound", strategy("sound"))
    found = loaded()
    broken = record(found, "broken:plugin")
    assert broken.status == "failed"
    assert message in broken.error
    assert "\n" not in broken.error
    assert broken.provides == {}
    assert "broken:plugin" not in found.versions()
    assert "sound" in found.strategies
    assert "half-there" not in found.strategies


def test_an_unknown_pool_is_refused(distributions: Distributions) -> None:
    distributions.install("pools", model("m", pool="max"))
    # Outside the tests nothing checks the annotation, so the loader has to.
    outcome = distributions.cli("plugins", "--json")
    plugin = next(entry for entry in outcome.json["plugins"] if entry["key"] == "pools:plugin")
    assert plugin["status"] == "failed"
    assert "pool='max' is none of mean, token, none" in plugin["error"]


def test_damaged_entry_points_do_not_stop_the_others(distributions: Distributions) -> None:
    distributions.install("damaged", "", entry_points="[ddeep]\nthis line has no equals sign\n")
    distributions.install("sound", strategy("sound"))
    found = loaded()
    assert "entry points are damaged" in record(found, "damaged:?").error
    assert "sound" in found.strategies


@pytest.mark.parametrize("file", ["METADATA", "entry_points.txt"])
@pytest.mark.parametrize("content", [b"\xff\xfe[ddeep]\x00", b"", None])
def test_damaged_metadata_does_not_stop_the_others(
    distributions: Distributions, file: str, content: bytes | None
) -> None:
    distributions.install("broken", strategy("broken-1"))
    distributions.install("whole", strategy("whole-1"))
    path = distributions.site / "broken-1.0.dist-info" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    found = loaded()
    assert "whole-1" in found.strategies
    assert "paper" in found.strategies
    if content and content.startswith(b"\xff"):
        assert "metadata is damaged" in record(found, "broken:?").error
        assert record(loaded("*"), "broken:?").status == "blocked"
        assert record(loaded("broken"), "broken:?").status == "blocked"
    shown = distributions.cli("--no-plugins", "list", "strategies", "paper")
    assert shown.status == 0
    assert shown.err == ""


def test_a_real_ctrl_c_ends_loading(distributions: Distributions) -> None:
    distributions.install("slow", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(60)")
    with pytest.raises(KeyboardInterrupt):
        loaded()


def test_a_child_that_a_plugin_forks_may_leave(distributions: Distributions) -> None:
    forked = "import os\npid = os.fork()\nif not pid:\n    os._exit(7)\nassert os.waitpid(pid, 0)[1] == 7 << 8\n"
    distributions.install("forking", forked + strategy("forking-1"))
    assert "forking-1" in loaded().strategies


NOISY = "import os\nos.write(1, b'noise')\nos.system('echo more noise')\nprint('and more')\n"


def test_the_document_is_alone_on_stdout_whatever_a_plugin_writes(distributions: Distributions) -> None:
    distributions.install("noisy", NOISY + strategy("noisy-1"))
    done = distributions.cli("list", "strategies", "noisy*", "--json")
    assert done.status == 0
    assert [row["name"] for row in done.json["strategies"]] == ["noisy-1"]
    assert done.err.count("noise") == 2


LEAVING = """
from ddeep import ModelSpec, hookimpl

def build(num_classes):
    {how}

@hookimpl
def ddeep_models():
    yield ModelSpec("leaving", build=build)
"""


@pytest.mark.parametrize("how", ["__import__('os')._exit(0)", "raise SystemExit(0)", "raise SystemExit"])
def test_an_empty_document_is_never_a_success(distributions: Distributions, how: str) -> None:
    distributions.install("leaving", LEAVING.format(how=how))
    done = distributions.cli("layers", "leaving", "--json")
    assert done.out == ""
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: The command ")
    assert "--no-plugins" in done.err


METRIC = """
from ddeep import MetricSpec, hookimpl

def measure(evidence, selection, context):
    return 1.0

@hookimpl
def ddeep_metrics():
    yield MetricSpec("psi", measure=measure, of="layer", always=True)
"""


def test_two_metrics_of_one_name_are_reported_and_left_out(
    distributions: Distributions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddeep.selections import measure

    distributions.install("acme", METRIC)
    found = loaded()
    monkeypatch.setattr(measure, "registry", lambda: found)
    with pytest.warns(PluginWarning, match=r"2 plugins provide the metric 'psi'.*it is not measured"):
        names = [spec.name for spec in measure.always_measured()]
    assert names
    assert "psi" not in names
    with pytest.raises(PluginError, match="2 plugins provide the metric 'psi'"):
        measure.get_metric("psi")


def test_two_providers_of_one_name_are_an_error_where_it_is_read(distributions: Distributions) -> None:
    distributions.install("acme", strategy("paper-2"))
    distributions.install("zeta", strategy("paper-2"))
    distributions.install("sound", strategy("sound"))
    found = loaded()
    assert found.find("strategy", "sound").name == "sound"
    assert "paper-2" in found.strategies
    with pytest.raises(PluginError) as caught:
        found.find("strategy", "paper-2")
    assert "acme:plugin and zeta:plugin" in str(caught.value)
    assert "DDEEP_BLOCK=zeta:plugin" in str(caught.value)
    with pytest.raises(PluginError, match="acme:plugin and zeta:plugin"):
        list(found.strategies.values())
    assert found.conflicts() == [str(caught.value)]
    assert loaded("zeta:plugin").strategies.provider("paper-2") == "acme:plugin"


def test_a_stranger_is_blocked_rather_than_a_built_in(distributions: Distributions) -> None:
    distributions.install("acme", model("resnet20"))
    with pytest.raises(PluginError, match="DDEEP_BLOCK=acme:plugin"):
        loaded().find("model", "resnet20")


def test_two_distributions_may_share_an_entry_point_name(distributions: Distributions) -> None:
    distributions.install("acme", strategy("one"), entry="strategies")
    distributions.install("zeta", strategy("two"), entry="strategies")
    found = loaded()
    assert found.strategies.provider("one") == "acme:strategies"
    assert found.strategies.provider("two") == "zeta:strategies"


def test_the_first_copy_of_a_distribution_on_the_path_is_the_one(distributions: Distributions) -> None:
    distributions.install("acme", strategy("new"), version="2.0")
    distributions.install("Acme", strategy("old"), version="1.0", site=distributions.behind)
    found = loaded()
    assert found.versions()["acme:plugin"] == "2.0"
    assert "old" not in found.strategies


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
    assert all(isinstance(spec, DatasetSpec) for spec in found.datasets.values())
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


def test_the_commands_and_a_conflict(distributions: Distributions) -> None:
    distributions.install("acme", strategy("paper-2"))
    distributions.install("zeta", strategy("paper-2"))
    listed = distributions.cli("list", "strategies")
    assert listed.status == 1
    assert listed.err.splitlines()[-1].startswith("error: 2 plugins provide the strategy 'paper-2'")
    assert distributions.cli("list", "models").status == 0
    shown = distributions.cli("plugins")
    assert shown.status == 0
    assert "2 plugins provide" in shown.err
