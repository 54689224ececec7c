"""What runs in the environment of zarr-python 2.18: it reads or writes all arrays of a list in one go.

``python zarr2_peer.py read|write FOLDER``: FOLDER/jobs.json lists the arrays, FOLDER/values their values; what was
found wrong is written to FOLDER/found.json, by path. Imports nothing of the project.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
zarr = __import__("zarr")
numcodecs = __import__("numcodecs")


def expected(folder, job):
    """Return the values of a job; the files are few, the jobs many."""
    name = job["values"]
    if name not in CACHE:
        CACHE[name] = np.load(folder / "values" / f"{name}.npy", allow_pickle=True)
    return CACHE[name]


CACHE = {}


def native(array):
    """Return an array in the byte order of this machine."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def difference(found, values):
    """Return what is different, or an empty text."""
    if found.shape != values.shape or found.dtype.kind != values.dtype.kind:
        return f"{found.dtype} {found.shape} instead of {values.dtype} {values.shape}"
    if values.dtype.kind == "O":
        return (
            "" if found.tolist() == values.tolist() else f"{found.tolist()!r:.200} instead of {values.tolist()!r:.200}"
        )
    same = native(found).tobytes() == native(values).tobytes()
    return "" if same else f"{found.tolist()!r:.200} instead of {values.tolist()!r:.200}"


def read(folder, job):
    """Compare what is stored with what should be."""
    array = zarr.open_array(str(folder / job["path"]), mode="r")
    values = expected(folder, job)
    problem = difference(array[...], values)
    if not problem and json.loads(json.dumps(dict(array.attrs))) != job["attributes"]:
        problem = f"attributes {dict(array.attrs)}"
    if not problem and job["missing"]:
        where = tuple(job["missing"])
        fill = np.asarray(array.fill_value, array.dtype)
        problem = difference(fill, np.asarray(values[where], values.dtype).reshape(()))
        problem = problem and f"fill value: {problem}"
    return problem


def write(folder, job):
    """Write the array that a document of v2 describes."""
    document, values = job["document"], expected(folder, job)
    filters = [numcodecs.get_codec(dict(codec)) for codec in document["filters"] or ()]
    dtype = document["dtype"]
    objects = dtype == "|O"
    array = zarr.create(
        store=zarr.DirectoryStore(str(folder / job["path"])),
        shape=tuple(document["shape"]),
        chunks=tuple(document["chunks"]),
        dtype=object if objects else np.dtype([tuple(f) for f in dtype] if isinstance(dtype, list) else dtype),
        order=document["order"],
        fill_value=values[tuple(job["missing"])] if job["missing"] else None,
        compressor=document["compressor"] and numcodecs.get_codec(dict(document["compressor"])),
        filters=filters[1:] if objects else filters,
        object_codec=filters[0] if objects else None,
        dimension_separator=document["dimension_separator"],
        write_empty_chunks=False,
    )
    array[...] = values
    array.attrs.put(job["attributes"])
    return ""


def main(way, folder):
    """Do all jobs of ``folder``."""
    found = {}
    for job in json.loads((folder / "jobs.json").read_text("utf-8")):
        try:
            problem = {"read": read, "write": write}[way](folder, job)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:300]
        if problem:
            found[job["path"]] = problem
    (folder / "found.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
