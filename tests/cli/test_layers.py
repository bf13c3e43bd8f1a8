"""``ddeep layers``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


def test_tokens_of_a_vision_transformer(cli_here: Cli) -> None:
    shown = cli_here("layers", "timm/vit_tiny_patch16_224", "norm", "head", "blocks.0.mlp.fc?").out.splitlines()
    assert [line.split() for line in shown[2:]] == [
        ["blocks.0.mlp.fc1", "Linear", "197×768", "768"],
        ["blocks.0.mlp.fc2", "Linear", "197×192", "192"],
        ["norm", "LayerNorm", "197×192", "192", "feeds", "the", "head", "(token)"],
        ["head", "Linear", "1000", "1000", "the", "head"],
    ]


def test_json_has_the_authors_layer_names(cli_here: Cli) -> None:
    document = cli_here("layers", "resnet20", "--json").json
    assert document["schema"] == "ddeep.layers/1"
    assert (document["head"], document["layer"], document["pool"], document["size"]) == (
        "linear",
        "layer3.2",
        "mean",
        32,
    )
    rows = {row["name"]: row for row in document["layers"]}
    assert rows["layer2.1.relu1"]["shape"] == [32, 16, 16]
    assert rows["layer2.1.relu1"]["filters"] == 32
    assert list(rows).index("relu") < list(rows).index("layer1.0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet20", "layer9"], "No layer of CifarResNet matches 'layer9'. Did you mean 'layer"),
        (["resnet21"], "No model is called 'resnet21'. Did you mean"),
        (["timm/vit_tiny_patch16_224", "--size", "100"], "does not run on images of 100 × 100"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, cli_here: Cli) -> None:
    done = cli_here("layers", *arguments)
    assert done.status == 1
    assert message in done.err.splitlines()[-1]
    assert done.out == ""
