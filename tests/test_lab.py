"""Readers work on copies: git sees none of them, none is overwritten, and JupyterLab has nothing to add to one."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from tools import lab
from tools.notebooks import NOTEBOOKS

NAMES = ("01_digit_world.ipynb", "exercises/01_digit_world.ipynb", "solutions/01_digit_world.ipynb")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    for name in (*NAMES, ".ipynb_checkpoints/01_digit_world.ipynb"):
        (tmp_path / "notebooks" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(NOTEBOOKS / name.replace(".ipynb_checkpoints/", ""), tmp_path / "notebooks" / name)
    lab.copy(tmp_path / "notebooks", tmp_path / "mine")
    return tmp_path / "mine"


def test_each_notebook_is_copied_with_its_outputs_and_without_its_pair(copies: Path):
    assert sorted(str(path.relative_to(copies)) for path in copies.rglob("*.*")) == sorted(NAMES)
    for name in NAMES:
        copy, original = (nbformat.read(folder / name, as_version=4) for folder in (copies, NOTEBOOKS))
        assert copy.cells == original.cells
        assert "jupytext" not in copy.metadata


def test_a_copy_is_the_readers(copies: Path):
    mine, deleted, _ = (copies / name for name in NAMES)
    mine.write_text("changed")
    deleted.unlink()
    lab.copy(copies.parent / "notebooks", copies)
    assert mine.read_text() == "changed"
    assert nbformat.read(deleted, as_version=4).cells == nbformat.read(NOTEBOOKS / NAMES[1], as_version=4).cells


def test_the_kernel_tells_jupyterlab_nothing_new(copies: Path):
    """Or a notebook would be marked as changed as soon as it is opened."""
    metadata = nbformat.read(copies / NAMES[0], as_version=4).metadata
    manager, client = start_new_kernel(kernel_name=metadata.kernelspec.name)
    try:
        assert client.kernel_info(reply=True, timeout=60)["content"]["language_info"] == metadata.language_info
        assert manager.kernel_spec.display_name == metadata.kernelspec.display_name
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_copies_are_as_deep_as_the_originals_and_git_ignores_them():
    assert lab.COPIES.parent == NOTEBOOKS.parent
    assert f"/{lab.COPIES.name}/" in (NOTEBOOKS.parent / ".gitignore").read_text().splitlines()
