"""A fixed number of random calls of the compiled kernels; `fuzz.py` says what they are and runs more of them."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("focal_boost.kernels._native", reason="installed without the compiled extension")
from fuzz import fuzz

CASES = int(os.environ.get("FOCAL_BOOST_FUZZ", "4000"))


@pytest.mark.parametrize("part", range(4))
def test_random_calls(part):
    outcomes = fuzz(part * 1_000_000_000, CASES // 4)
    assert outcomes.total() == CASES // 4
    # Every way to end was met, so that the cases are no walk past closed doors.
    assert {"computed", "refused label", "unaligned", "convert", "far rows", "ValueError"} <= set(outcomes)
