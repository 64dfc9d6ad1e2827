"""The built site, made once for all tests that look at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from sample_site import build, site_copy


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; tests that run side by side share it, so nobody writes into it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder that all processes of this run have in common
    source, ready = folder / "whole_site", folder / "whole_site.ready"
    with FileLock(folder / "whole_site.lock"):
        if not ready.exists():
            done = build(site_copy(source, whole=True))
            assert done.returncode == 0, done.stderr
            ready.touch()
    return source / "site"
