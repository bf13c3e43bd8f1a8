"""What ddeep asks of every model: shapes, head and layer, order of images, training, weights that load."""

import pytest

from ddeep.testing import Check, contract


@pytest.mark.parametrize("check", contract("ddeep-vit"), ids=str)
def test_contract(check: Check) -> None:
    check()
