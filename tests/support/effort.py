"""How hard the property tests try: ``DDEEP_TEST_EFFORT=100`` runs a hundred times as many examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EFFORT = float(os.environ.get("DDEEP_TEST_EFFORT", "1"))


def examples(number: int) -> settings:
    """Hypothesis settings for ``number`` examples at effort 1, without time limits."""
    wanted = max(1, round(number * EFFORT))
    return settings(max_examples=wanted, deadline=None, suppress_health_check=[HealthCheck.too_slow])
