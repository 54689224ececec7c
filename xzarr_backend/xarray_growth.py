"""What becomes visible at the end of a write: grown arrays, changed attributes, consolidated metadata.

Imports the rows below and xarray_planning. Invariant: before `Growth.finish` readers see the old sizes and attributes;
an error or a kill before it leaves them, and what was stored beyond the old sizes is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .consolidating import change_document, consolidate, update_member
from .paths import prefix_of
from .resizing import check_unchanged
from .spec import ArraySpec, GroupSpec
from .stores.base import Store
from .transactions import Append, AppendInMemory
from .xarray_planning import Call, GroupPlan


def consolidate_root(store: Store, call: Call) -> None:
    if call.consolidated is not False and call.mode != "r+" and store.supports_consolidated_metadata:
        consolidate(store, "")


class Growth:
    """What becomes visible at the end: grown arrays, changed attributes of groups, consolidated metadata.

    As a context it begins an append before the chunks are stored, and commits it or rolls it back. Called (as the last
    task of a graph) it does all of it at once. It pickles.
    """

    def __init__(
        self, store: Store, call: Call, plans: list[GroupPlan], created: Mapping[str, ArraySpec], fresh: bool
    ) -> None:
        self.store, self.path, self.created, self.fresh = store, call.path, dict(created), fresh
        self.call = call._replace(region=None, computing={})
        self.grown = {old.array.path: (old.array, old.grown) for plan in plans for old in plan.old if old.grown}
        self.attributes = {
            plan.target.path: (plan.target.group.spec, plan.attributes)
            for plan in plans
            if plan.target.group is not None and plan.attributes is not None
        }
        self.append: Append | AppendInMemory | None = None

    @property
    def grows(self) -> bool:
        """Whether an array grows."""
        return bool(self.grown)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, kind: Any, *error: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.undo()

    def __call__(self) -> None:
        self.begin()
        self.finish()

    def check(self) -> None:
        """Raise `RegionError` where an array has another shape by now: blocks would be stored over what is there."""
        for array, _ in self.grown.values():
            check_unchanged(array)

    def begin(self) -> None:
        """Note that arrays are about to grow: for other writers, and for who comes after a killed one.

        Raise `RegionError` while another append is under way, or where an array has another shape by now.
        """
        if not self.grown:
            return
        if not self.store.shared_between_processes:
            self.append = AppendInMemory.begin(self.store, self.path, list(self.grown.values()))
            return
        old = {array.basename: array.shape for array, _ in self.grown.values()}
        new = {array.basename: spec.shape for array, spec in self.grown.values()}
        new.update({path.rpartition("/")[2]: spec.shape for path, spec in self.created.items()})
        self.append = Append.begin(self.store, self.path, old, new, resume=self.call.resume)

    def undo(self) -> None:
        """Remove what was stored beyond the old sizes."""
        if self.append is not None:
            self.append.rollback()

    def finish(self) -> None:
        """Let everything be seen."""
        if self.append is not None:
            self.append.commit()
        for path, (group, attributes) in self.attributes.items():
            self._store_attributes(path, group, attributes)
        if self.call.consolidated is False and not self.fresh:
            for path, spec in self.created.items():
                update_member(self.store, path, spec)
        consolidate_root(self.store, self.call)

    def _store_attributes(self, path: str, group: GroupSpec, attributes: Mapping[str, Any]) -> None:
        if dict(group.attributes) == dict(attributes):
            return
        prefix = prefix_of(path)
        if group.zarr_format == 2:
            change_document(self.store, f"{prefix}.zattrs", {}, lambda old: dict(attributes))
        else:
            change_document(
                self.store, f"{prefix}zarr.json", group.document, lambda old: {**old, "attributes": dict(attributes)}
            )
