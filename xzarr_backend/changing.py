"""Changing nodes that are stored already: what arrays and groups have in common, and their attributes.

Imports nodes, consolidating and the rows below. Invariant: each change of a document is one atomic `set` made from the
document as it is stored now, so that nothing that others wrote meanwhile, or that is not understood here, is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .attribute_values import decode_attributes, encode_attributes
from .compat import Reading
from .consolidating import change_document, update_member
from .errors import MetadataError, ReadOnlyError
from .formats.v2 import parse_array_v2, parse_group_v2
from .formats.v3 import parse_array_v3, parse_group_v3
from .nodes import place_of
from .paths import prefix_of
from .spec import JSON, ArraySpec, GroupSpec
from .stored_documents import store_new_document
from .stores.base import Store

if TYPE_CHECKING:
    from .options import Options


class Node(Protocol):
    """What an `Array` and a `Group` have in common."""

    store: Store
    path: str
    options: Options

    @property
    def spec(self) -> Any:
        """What the node's documents say."""

    def adopt(self, spec: Any) -> None:
        """Be the node that ``spec`` describes from now on."""


def check_writable(node: Node) -> None:
    """Raise `ReadOnlyError` unless the node was opened for writing."""
    if not node.options.writable:
        kind = "array" if isinstance(node.spec, ArraySpec) else "group"
        where = f"{node.store.url}, {kind} {node.path!r}" if node.path else node.store.url
        raise ReadOnlyError(f"the {kind} was opened for reading", where=where, hint='open it with mode="r+"')
    node.store.check_writable()


def change_attributes(node: Node, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Store what ``change`` returns for the attributes, in one step; raise `MetadataError` or `ReadOnlyError`."""
    check_writable(node)
    spec, prefix = node.spec, prefix_of(node.path)

    def changed(stored: Mapping[str, JSON]) -> dict[str, JSON]:
        try:
            return encode_attributes(change(dict(decode_attributes(stored))))
        except MetadataError as error:
            raise error.at(place_of(node.store, node.path))  # noqa: B904

    if spec.zarr_format == 3:
        key = f"{prefix}zarr.json"
        document = change_document(
            node.store, key, spec.document, lambda d: {**d, "attributes": changed(d.get("attributes") or {})}
        )
        attributes = document["attributes"]
    else:
        if isinstance(spec, GroupSpec):
            store_new_document(node.store, f"{prefix}.zgroup", {"zarr_format": 2})
        attributes = change_document(node.store, f"{prefix}.zattrs", {}, changed)
    node.adopt(with_attributes(spec, attributes, node.options.reading))
    update_member(node.store, node.path, node.spec)


def with_attributes(spec: ArraySpec | GroupSpec, stored: Mapping[str, JSON], reading: Reading) -> ArraySpec | GroupSpec:
    """Return ``spec`` with other attributes, given as they are stored."""
    if spec.zarr_format == 3:
        document = {**spec.document, "attributes": dict(stored)}
        return parse_array_v3(document, reading) if isinstance(spec, ArraySpec) else parse_group_v3(document)
    if isinstance(spec, ArraySpec):
        return parse_array_v2(spec.document, stored, reading)
    return parse_group_v2(spec.document, stored)
