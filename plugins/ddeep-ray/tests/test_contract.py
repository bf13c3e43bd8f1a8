"""What ddeep asks of every strategy and metric."""

import pytest

from ddeep.testing import Check, contract


@pytest.mark.parametrize("check", contract("ddeep-ray"), ids=str)
def test_contract(check: Check) -> None:
    check()
