from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from hypothesis import settings

from focal_boost import losses
from focal_boost.kernels import numpy as numpy_kernels

# The same examples every time; FOCAL_BOOST_EXAMPLES asks for that many new ones per property.
EXAMPLES = os.environ.get("FOCAL_BOOST_EXAMPLES")
settings.register_profile(
    "focal_boost",
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    max_examples=int(EXAMPLES or settings().max_examples),
)
settings.load_profile("focal_boost")

KERNELS = {"numpy": numpy_kernels}
if find_spec("focal_boost.kernels._native") is not None:
    from focal_boost.kernels import _native
    from focal_boost.kernels import native as native_kernels

    KERNELS |= dict.fromkeys(_native.supported(), native_kernels)


@pytest.fixture(scope="module", params=list(KERNELS))
def kernels(request):
    """Let the losses compute with each set of kernels in turn."""
    module = KERNELS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "numpy":
            before = _native.dispatch()
            _native.set_dispatch(request.param)
        patch.setattr(losses, "kernels", module)
        yield module
        if request.param != "numpy":
            _native.set_dispatch(before)
