"""Names that two plugins provide: reported, never chosen between in silence."""

from __future__ import annotations

import pytest

from ddeep.errors import PluginError
from ddeep.registry.registry import PluginWarning
from tests.support.helpers import Distributions
from tests.support.written import loaded, model, strategy

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
