"""Arrays and groups as people see them: summaries and trees, as text and as HTML in notebooks.

Imports array and group (for types), display_text and the rows below. Invariant: showing a node reads no chunk and lists
no array's folder; everything that comes from a store is escaped, and the HTML takes its colours from the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from .display_text import bytes_text, codec_text, plain, shape_text, short, value_text
from .errors import UnsupportedError
from .nodes import Found
from .spec import JSON, ArraySpec

if TYPE_CHECKING:
    from .array import Array
    from .group import Group

_MEMBERS_SHOWN = 20  # of a group, in its summary; `tree()` shows all
UNREADABLE = "unreadable"
_LABELS = {"array": "Arrays", "group": "Groups", UNREADABLE: "Unreadable"}
_LINE = "1px solid rgba(128,128,128,.35)"  # visible on light and on dark pages


class Info:
    """A summary: rows of label and text. Prints as text, shows as HTML, `as_dict` gives plain data.

    ``attributes`` are shown below the rows.
    """

    def __init__(self, title: str, rows: list[tuple[str, str]], attributes: Any, facts: dict[str, JSON]) -> None:
        self.title, self.rows, self.attributes = title, rows, dict(attributes)
        self._facts = facts

    def as_dict(self) -> dict[str, JSON]:
        """Return the facts as plain data that JSON can hold, the attributes included."""
        return {**self._facts, "attributes": self.attributes}

    def _sections(self) -> Iterator[tuple[str, str]]:
        yield from self.rows
        if self.attributes:
            yield "Attributes", ""
        for name, value in self.attributes.items():
            yield f"  {name}", value_text(value)

    def __repr__(self) -> str:
        rows = [(plain(label), plain(text)) for label, text in self._sections()]
        width = min(max(len(label) for label, _ in rows), 40)
        return "\n".join([plain(self.title), *(f"{label:<{width}}  {text}".rstrip() for label, text in rows)])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<{tag}>{escape(plain(label.strip()))}</{tag}><span>{escape(plain(text))}</span>"
            for label, text in self._sections()
            for tag in ["span" if label.startswith(" ") else "b"]
        )
        return (
            f'<div style="display:inline-block;border:{_LINE};border-radius:4px;padding:8px 12px">'
            f'<b style="display:block;border-bottom:{_LINE};padding-bottom:4px;margin-bottom:4px">'
            f"{escape(plain(self.title))}</b>"
            f'<div style="display:grid;grid-template-columns:max-content auto;gap:2px 16px;overflow-wrap:anywhere">'
            f"{cells}</div></div>"
        )


def array_info(array: Array) -> Info:
    """Return the summary of an array, from its metadata alone."""
    spec = array.spec
    fill = spec.dtype.format_fill(spec.fill_value, spec.zarr_format)
    inner, shards = array.chunks, array.shards
    rows = [
        ("Store", array.store.url),
        ("Format", f"Zarr v{spec.zarr_format}"),
        ("Shape", shape_text(spec.shape, spec.dimension_names)),
        ("Data type", _dtype_text(spec)),
        ("Fill value", value_text(fill)),
        ("Chunks", f"{shape_text(inner)}, {array.nchunks:,} in the grid"),
        *([("Shards", f"{shape_text(shards)}, {spec.chunk_grid.nchunks:,} in the grid")] if shards is not None else []),
        *([] if array.order == "C" else [("Order", array.order)]),
        ("Codecs", short(", ".join(map(codec_text, spec.codecs)), 600)),
        ("Size", f"{array.size:,} elements, {bytes_text(array.nbytes)} in memory"),
    ]
    facts = {
        "node_type": "array",
        "store": array.store.url,
        "path": array.name,
        "zarr_format": spec.zarr_format,
        "shape": list(spec.shape),
        "dimension_names": None if spec.dimension_names is None else list(spec.dimension_names),
        "dtype": spec.dtype.name,
        "numpy_dtype": str(array.dtype),
        "fill_value": fill,
        "chunks": _lists(inner),
        "shards": None if shards is None else _lists(shards),
        "order": array.order,
        "codecs": list(array.codecs),
        "nchunks": array.nchunks,
        "nbytes": array.nbytes,
    }
    return Info(f"Array {array.name}", rows, spec.attributes, facts)


def _dtype_text(spec: ArraySpec) -> str:
    name, numpy = spec.dtype.name, str(spec.dtype.numpy)
    return name if name == numpy else f"{name} (NumPy: {short(numpy, 200)})"


def _lists(lengths: tuple[Any, ...]) -> list[Any]:
    return [length if isinstance(length, int) else list(length) for length in lengths]


def group_info(group: Group) -> Info:
    """Return the summary of a group and of what is right below it, where the store can tell."""
    try:
        branches, unknown = list(_branches(group, 1)), ""
    except UnsupportedError as error:  # a place that cannot be listed, and no consolidated metadata
        branches, unknown = [], error.what
    names = {kind: [branch.name for branch in branches if branch.kind == kind] for kind in _LABELS}
    shown = [kind for kind in _LABELS if not unknown and (names[kind] or kind != UNREADABLE)]
    rows = [
        ("Store", group.store.url),
        ("Format", f"Zarr v{group.zarr_format}"),
        ("Consolidated metadata", "yes" if group.consolidated else "no"),
        *([("Members", f"unknown: {unknown}")] if unknown else []),
        *(
            [("Members", f"unknown: {unknown}")]
            if unknown
            else [(_LABELS[kind], _names_text(names[kind])) for kind in shown]
        ),
    ]
    facts = {
        "node_type": "group",
        "store": group.store.url,
        "path": group.name,
        "zarr_format": group.zarr_format,
        "consolidated": group.consolidated,
        "arrays": names["array"],
        "groups": names["group"],
        "unreadable": {branch.name: branch.text for branch in branches if branch.kind == UNREADABLE},
    }
    return Info(f"Group {group.name}", rows, group.attrs, facts)


def _names_text(names: list[str]) -> str:
    if not names:
        return "none"
    more = f", and {len(names) - _MEMBERS_SHOWN:,} more" if len(names) > _MEMBERS_SHOWN else ""
    return f"{len(names):,}: {', '.join(names[:_MEMBERS_SHOWN])}{more}"


# --- trees -----------------------------------------------------------------------------------------------------------


class Branch(NamedTuple):
    """A member of a group in a tree. ``kind``: "array", "group" or "unreadable"; ``text`` follows the name."""

    name: str
    kind: str
    text: str
    below: tuple[Branch, ...] = ()


class Tree:
    """A group with its members, ``depth`` levels deep (None: all). Prints as text, shows as HTML.

    Members whose metadata cannot be read are shown with their error. Making a tree reads the metadata of all members.
    """

    def __init__(self, group: Group, depth: int | None = None) -> None:
        self.root = Branch(group.name, "group", f"group, Zarr v{group.zarr_format}", tuple(_branches(group, depth)))

    def as_dict(self) -> dict[str, JSON]:
        """Return the tree as plain data that JSON can hold."""
        return _branch_dict(self.root)

    def __repr__(self) -> str:
        return "\n".join([_line(self.root), *_lines(self.root, "")])

    def _repr_html_(self) -> str:
        return f'<div style="line-height:1.5">{_branch_html(self.root)}</div>'


def _branches(group: Group, depth: int | None) -> Iterator[Branch]:
    for name, child in group.children.items():
        if child.found is None:
            yield Branch(name, UNREADABLE, str(child.error).partition("\n")[0])
        else:
            yield _branch(group, name, child.found, depth)


def _branch(group: Group, name: str, found: Found, depth: int | None) -> Branch:
    spec = found.spec
    if isinstance(spec, ArraySpec):
        return Branch(name, "array", f"{shape_text(spec.shape, spec.dimension_names)} {spec.dtype.numpy}")
    if depth == 1:
        return Branch(name, "group", "group")
    below: Any = group[name]
    return Branch(name, "group", "group", tuple(_branches(below, None if depth is None else depth - 1)))


def _line(branch: Branch) -> str:
    return plain(f"{branch.name}  {branch.text}")


def _lines(branch: Branch, indent: str) -> Iterator[str]:
    for place, below in enumerate(branch.below, start=1):
        last = place == len(branch.below)
        yield f"{indent}{'└── ' if last else '├── '}{_line(below)}"
        yield from _lines(below, indent + ("    " if last else "│   "))


def _branch_dict(branch: Branch) -> dict[str, JSON]:
    found: dict[str, JSON] = {"name": branch.name, "node_type": branch.kind, "text": branch.text}
    return {**found, "members": list(map(_branch_dict, branch.below))} if branch.kind == "group" else found


def _branch_html(branch: Branch) -> str:
    label = f"<strong>{escape(plain(branch.name))}</strong>&ensp;<span>{escape(plain(branch.text))}</span>"
    if not branch.below:
        return f"<div>{label}</div>"
    members = "".join(f"<li>{_branch_html(below)}</li>" for below in branch.below)
    return (
        f'<details open><summary style="cursor:pointer">{label}</summary>'
        f'<ul style="list-style:none;margin:0;padding-left:20px;border-left:{_LINE}">{members}</ul></details>'
    )
