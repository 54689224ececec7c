"""What lies in a store: every document, every array with the objects below it, and what belongs to nobody.

Imports nodes, stores and the rows below. Invariant: a key is counted once, for the deepest array above it; nothing is
read but documents, and a document that cannot be read is kept with the reason instead of ending the walk.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from .errors import MetadataError, UnsupportedError, reason
from .formats.documents import DOCUMENTS, parse_json
from .paths import join, prefix_of
from .pending import FOLDER
from .spec import JSON
from .stores import open_store
from .stores.base import Request, Store
from .stores.local import LocalStore

ZARR_JSON, ZARRAY, ZGROUP, ZATTRS, ZMETADATA = DOCUMENTS
MAX_OBJECTS = 1_000_000  # listed at most; beyond that the rest of the store is not looked at


class Stored(NamedTuple):
    """A stored object: its key and its size in bytes, None where the listing does not tell."""

    key: str
    nbytes: int | None


class Document(NamedTuple):
    """A document as it was found: what it says, or why it cannot be read."""

    name: str
    content: Mapping[str, JSON] | None
    problem: str = ""
    raw: bytes = b""
    denied: bool = False  # the object is there, but could not be fetched


Documents = dict[str, Document]  # by name, of one node


class Inventory:
    """The nodes of a store by their paths, and the objects below each array.

    ``complete``: whether everything could be listed. ``objects``: all but the documents, in the order of the listing.
    ``problem``: why the listing failed.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.nodes: dict[str, Documents] = {}
        self.objects: list[Stored] = []
        self.complete = True
        self.problem: Exception | None = None

    @property
    def arrays(self) -> list[str]:
        """The paths of all arrays, as far as documents tell, sorted."""
        return sorted(path for path, documents in self.nodes.items() if is_array(documents))

    @property
    def groups(self) -> list[str]:
        """The paths of all nodes that are no arrays, sorted."""
        return sorted(path for path, documents in self.nodes.items() if not is_array(documents))

    def below(self, path: str) -> list[Stored]:
        """Return the objects that belong to the array at ``path``."""
        return self._by_array.get(path, [])

    @property
    def strays(self) -> list[Stored]:
        """The objects that lie below no array."""
        return self._by_array.get(None, [])

    @property
    def _by_array(self) -> dict[str | None, list[Stored]]:
        if not hasattr(self, "_grouped"):
            arrays = set(self.arrays)
            self._grouped: dict[str | None, list[Stored]] = {}
            for stored in self.objects:
                self._grouped.setdefault(owner(stored.key, arrays), []).append(stored)
        return self._grouped


def owner(key: str, arrays: Container[str]) -> str | None:
    """Return the deepest of the paths in ``arrays`` that ``key`` lies below, None where there is none."""
    folder = key.rpartition("/")[0]
    while folder not in arrays:
        if not folder:
            return None
        folder = folder.rpartition("/")[0]
    return folder


def is_array(documents: Documents) -> bool:
    """Return whether the documents of a node are those of an array, be they broken."""
    if ZARRAY in documents:
        return True
    document = documents.get(ZARR_JSON)
    if document is None:
        return False
    if document.content is None:  # cut short: what is left may still show it
        return b'"data_type"' in document.raw or b'"array"' in document.raw or b'"chunk_grid"' in document.raw
    return document.content.get("node_type") == "array" or "data_type" in document.content


def take_inventory(store: Store, path: str = "") -> Inventory:
    """Walk the store below ``path`` and load every document; never raises for what is found there."""
    found = Inventory(store)
    prefix = prefix_of(path)
    keys: list[str] = []
    try:
        for count, (key, nbytes) in enumerate(store.walk(prefix)):
            if count >= MAX_OBJECTS:
                found.complete = False
                break
            if f"/{key}".find(f"/{FOLDER}") >= 0 or _is_copy(key):
                continue
            if key.rpartition("/")[2] in DOCUMENTS:
                keys.append(key)
            else:
                found.objects.append(Stored(key, nbytes))
    except (OSError, UnsupportedError) as error:
        found.complete, found.problem = False, error
        keys = keys or [f"{prefix}{name}" for name in DOCUMENTS]
    for key, document in zip(keys, load_documents(store, keys), strict=True):
        if document is not None:
            found.nodes.setdefault(key.rpartition("/")[0], {})[document.name] = document
    return found


def load_nodes(inventory: Inventory, paths: list[str]) -> None:
    """Add the documents of the nodes at ``paths``."""
    keys = [join(path, name) for path in paths for name in DOCUMENTS]
    for key, document in zip(keys, load_documents(inventory.store, keys), strict=True):
        if document is not None:
            inventory.nodes.setdefault(key.rpartition("/")[0], {})[document.name] = document


COPY = ".xzarr-copy"  # how the copies end that `doctor` keeps of the documents it mends


def _is_copy(key: str) -> bool:
    return key.endswith(COPY)


def load_documents(store: Store, keys: list[str]) -> Iterator[Document | None]:
    """Yield the documents stored under ``keys``, None for each that is not there."""
    try:
        found: list[Any] = store.get_many([Request(key) for key in keys])
    except Exception:  # one of them fails: find out which
        found = [_get(store, key) for key in keys]
    for key, raw in zip(keys, found, strict=True):
        yield None if raw is None else _document(key.rpartition("/")[2], raw)


def _get(store: Store, key: str) -> Any:
    try:
        return store.get(key)
    except Exception as error:
        return error


def _document(name: str, raw: Any) -> Document:
    if isinstance(raw, Exception):
        return Document(name, None, f"{name} could not be fetched: {reason(raw)}", denied=True)
    data = bytes(raw)
    try:
        return Document(name, parse_json(data, name), raw=data)
    except MetadataError as error:
        return Document(name, None, error.what, data)


def only_archive(store: Store) -> Store | None:
    """Return the archive that a local folder holds and nothing else: ExZarr makes a folder around its archive."""
    if not isinstance(store, LocalStore):
        return None
    names = store.list_dir("")
    if len(names) != 1 or not names[0].endswith(".zip"):
        return None
    return open_store(f"{store.root}/{names[0]}")
