"""Marks for the long tests, which `make test-long` runs."""

import os

import pytest

ASKED = bool(os.environ.get("EMU_LONG_TESTS"))
LONG = pytest.mark.skipif(not ASKED, reason="set EMU_LONG_TESTS=1")
