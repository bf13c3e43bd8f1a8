"""Plugins that are broken, damaged, noisy, or leave: reported, and the others go on."""

from __future__ import annotations

import pytest

from tests.support.helpers import Distributions
from tests.support.written import loaded, model, record, strategy

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
