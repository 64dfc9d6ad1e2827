"""The built site, made once for all tests that look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_site import build, site_copy


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    source = site_copy(tmp_path_factory.mktemp("site"), whole=True)
    done = build(source)
    assert done.returncode == 0, done.stderr
    return source / "site"
