"""Make the environment with zarr-python 2.18 that some tests of this folder read and write with.

Run ``python -m tests.interop.make_zarr2_environment [DIR]``. DIR is by default the environment variable
``XZARR_ZARR2_ENVIRONMENT``, or ``.interop/zarr2`` below the project, where the tests look for it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = ("zarr==2.18.7", "numcodecs[crc32c,msgpack]<0.16", "pcodec<0.4", "zfpy!=1.0.1.post0")
VARIABLE = "XZARR_ZARR2_ENVIRONMENT"
DEFAULT = Path(__file__).resolve().parents[2] / ".interop" / "zarr2"


def environment() -> Path:
    """Return where the environment is, or would be."""
    return Path(os.environ.get(VARIABLE) or DEFAULT)


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in ``folder``."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(folder: Path) -> None:
    """Make the environment in ``folder``, or bring it up to date; git does not see it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not python_of(folder).exists():
        venv.create(folder, with_pip=True)
    (folder / ".gitignore").write_text("*\n", "utf-8")
    subprocess.run([python_of(folder), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    subprocess.run([python_of(folder), "-c", "import zarr; print('zarr', zarr.__version__)"], check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else environment())
