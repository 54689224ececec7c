"""Verifying places that cannot be listed, such as plain HTTP: consolidated metadata and grids tell what to ask for.

Imports consolidated_state, inventory, doctor_facts, verify_chunks and the rows below. Invariant: nothing passes for
whole only because it could not be listed; what is not stored is asked for, and counted as missing where it does not
come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .consolidated_state import ask_consolidated, consolidated_groups
from .doctor_facts import Facts
from .errors import UnsupportedError, XzarrError, reason
from .inventory import Inventory, is_array, load_nodes
from .nodes import place_of
from .paths import groups_above, prefix_of
from .verify_chunks import MISSING
from .verify_report import ArrayResult, Problem


def is_unlisted(inventory: Inventory) -> bool:
    """Return whether the store cannot list at all; a listing that failed is something else."""
    return isinstance(inventory.problem, UnsupportedError)


def find_nodes(inventory: Inventory, path: str) -> None:
    """Add the nodes below ``path`` that consolidated metadata name, its own or those of a group above.

    Raises `XzarrError` for a group whose members nobody names: they could not be checked.
    """
    load_nodes(inventory, groups_above(path))
    ask_consolidated(inventory)
    named = any(f"{path}/".startswith(prefix_of(group)) for group in consolidated_groups(inventory))
    below = prefix_of(path)
    inventory.nodes = {p: d for p, d in inventory.nodes.items() if p == path or p.startswith(below)}
    if path in inventory.nodes and not is_array(inventory.nodes[path]) and not named:
        raise XzarrError(
            f"the members of this group are not known, so they cannot be checked: {reason(inventory.problem)}"
            if inventory.problem is not None
            else "the members of this group are not known",
            where=place_of(inventory.store, path),
            hint="check its arrays one by one by their paths (--array), or let the writer consolidate the metadata",
        )


def settle_missing(
    arrays: Iterable[tuple[Facts, ArrayResult]], problems: list[Problem], enough: float
) -> Iterator[Problem]:
    """Take out of ``problems`` the chunks that are missing from sparse arrays, and yield what is to be noted.

    ``enough``: the share of the chunks asked for from which on an array is meant to be full.
    """
    for facts, result in arrays:
        gone = [problem for problem in problems if problem.kind == MISSING and problem.array == facts.where]
        result.missing, result.stored = len(gone), result.checked - len(gone)
        if result.stored < enough * result.checked:
            problems[:] = [problem for problem in problems if problem.kind != MISSING or problem.array != facts.where]
            if not result.stored:
                yield Problem("empty", facts.where, "", f"none of the {result.checked} chunk(s) asked for is stored")
