"""Paths of nodes: texts such as "group/array" without outer slashes, "" for the root of the store.

Imports nothing. Invariant: a path has no empty part, so that with a slash behind it the keys below it begin.
"""

from __future__ import annotations


def join(*parts: str) -> str:
    """Return the path of ``parts``, empty ones left out."""
    return "/".join(filter(None, parts))


def groups_above(path: str) -> list[str]:
    """Return the paths of the groups above the node at ``path``, the root first; the root has none."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:depth]) for depth in range(len(parts))]


def prefix_of(path: str) -> str:
    """Return what the keys of the documents, chunks and members of the node at ``path`` begin with."""
    return f"{path}/" if path else ""
