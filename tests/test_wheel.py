"""The wheel: small, complete, and usable away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = """
import mmtutor, sys
assert mmtutor.__file__.startswith(sys.argv[1]), mmtutor.__file__
from mmtutor.data import MODALITIES, digits, smartwatch
print(len(digits(*MODALITIES, split="test", n=3, cache=False)), len(smartwatch("valid")) > 0)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build folder is left here."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, folder)
    for part in ("mmtutor", "tests", "tools"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = (folder / "dist").glob("*.whl")
    return path


def test_it_is_small_and_holds_the_data_and_the_licence(wheel):
    assert wheel.stat().st_size < 12e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for file in (ROOT / "mmtutor/data/files").iterdir():
            assert archive.read(f"mmtutor/data/files/{file.name}") == file.read_bytes()
        assert {f"mmtutor/results/{name}" for name in ("fusion.json", "pictures.npz")} <= set(names)
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "mmtutor").rglob("*.py")}
    assert modules == {n for n in names if n.endswith(".py")}  # all of the package, nothing else
    assert "mmtutor/py.typed" in names
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_its_data_work_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "site")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "MMTUTOR_DATA": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["3", "True"], done.stderr
