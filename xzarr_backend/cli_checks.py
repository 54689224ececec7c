"""The commands ``xzarr doctor`` and ``xzarr verify``.

Imports click and cli_options, and examining and verifying when they are called. Invariant: the exit status is 0 where
nothing is wrong, 1 where something was found, 2 where the command could not run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from .cli_options import (
    INTERRUPTED,
    array_option,
    failing_with_two,
    path_argument,
    print_result,
    quirks_option,
    store_command,
)


@contextmanager
def _resumable(state: str | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        way = "the same command goes on" if state else "with --state FILE it could have gone on from here"
        click.echo(f"\ninterrupted: {way}", err=True)
        raise SystemExit(INTERRUPTED) from None


@click.command()
@store_command
@path_argument
@quirks_option
@click.option("--for", "reader", metavar="READER", help="A reader that must be able to read every array.")
@click.option("--fix", is_flag=True, help="Mend metadata where that is possible; the old documents are kept.")
def doctor(
    store: str,
    path: str,
    quirks: str | None,
    reader: str | None,
    fix: bool,
    storage_options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Show who can read STORE, and what is wrong with it.

    PATH is a group or an array in STORE, by default the root. One chunk of each array is read. The exit status is 0
    when nothing is wrong, 1 when something is, 2 when the command cannot run.
    """
    from .examining import doctor as examine

    with failing_with_two():
        report = examine(store, path, quirks=quirks, reader=reader, fix=fix, storage_options=storage_options)
    print_result(repr(report), report.as_dict(), as_json)
    sys.exit(report.status)


@click.command()
@store_command
@array_option("A group or an array in STORE; everything by default.")
@click.option("--sample", type=click.IntRange(min=1), help="Decode at most this many objects of each array.")
@click.option("--full", is_flag=True, help="Every chunk that is missing is a problem, in sparse arrays too.")
@click.option("--state", type=click.Path(dir_okay=False), help="A file to go on from after an interruption.")
@quirks_option
@click.option("--repair", is_flag=True, help="Write consolidated metadata anew, and remove leftovers of writers.")
def verify(
    store: str,
    path: str,
    sample: int | None,
    full: bool,
    state: str | None,
    quirks: str | None,
    repair: bool,
    storage_options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Decode every chunk of STORE, and list what is damaged, missing, foreign or out of date.

    The exit status is 0 when nothing is wrong, 1 when something is, 2 when the command cannot run.
    """
    from .verifying import verify as check

    with failing_with_two(), _resumable(state), _progress(not as_json) as progress:
        report = check(
            store,
            path,
            sample=sample,
            full=full,
            repair=repair,
            state=state,
            quirks=quirks,
            progress=progress,
            storage_options=storage_options,
        )
    print_result(repr(report), report.as_dict(), as_json)
    sys.exit(report.status)


@contextmanager
def _progress(wanted: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that draws a bar on a terminal; None where nobody would see it."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    bars: list[Any] = []

    def draw(done: int, total: int) -> None:
        if not bars:
            bars.append(click.progressbar(length=total, label="chunks", file=sys.stderr))
            bars[0].__enter__()
        bars[0].update(done - bars[0].pos)

    try:
        yield draw
    finally:
        if bars:
            bars[0].__exit__(None, None, None)


COMMANDS = (doctor, verify)
