"""The command ``xzarr``: looking at stores from a terminal, and changing them.

Imports click, opening and the rows below; every command loads the rest of what it needs. Invariant: an error of ours
or of the system ends a command with one message and exit status 1, never with a traceback; Ctrl-C ends it with 130.
"""

from __future__ import annotations

from typing import Any

import click

from . import __version__
from .array import Array
from .cli_checks import COMMANDS as CHECKS
from .cli_completion import COMMANDS as COMPLETION
from .cli_convert import COMMANDS
from .cli_options import INTERRUPTED, array_option, is_message, message_of, path_argument, print_result, store_command
from .cli_profiles import COMMANDS as PROFILES
from .display_text import bytes_text, plain
from .errors import XzarrError
from .opening import open as open_node
from .opening import open_array, open_group
from .stored import stored_chunks


class _Commands(click.Group):
    """Turns errors of ours into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not is_message(error):
                raise
            raise click.ClickException(plain(message_of(error), keep="\n")) from error
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            raise SystemExit(INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xzarr")
def main() -> None:
    """Look at Zarr v2 and v3 stores, and convert them.

    STORE is a folder, a .zip archive, or a URL such as s3://bucket/era5.zarr.
    """


@main.command()
@store_command
@path_argument
@click.option("--stored", is_flag=True, help="Count the stored chunks of an array and their bytes too.")
def info(store: str, path: str, stored: bool, storage_options: dict[str, Any] | None, as_json: bool) -> None:
    """Show what an array or a group is.

    PATH is its place in STORE, by default the root.
    """
    node = open_node(store, path, storage_options=storage_options)
    shown = node.info
    facts = shown.as_dict()
    if stored and isinstance(node, Array):
        sizes = [chunk.nbytes for chunk in stored_chunks(node)]
        facts |= {"nchunks_stored": len(sizes), "nbytes_stored": sum(sizes)}
        ratio = f", {node.nbytes / sum(sizes):.3g} times smaller than in memory" if sum(sizes) else ""
        shown.rows.append(("Stored", f"{len(sizes):,} objects, {bytes_text(sum(sizes))}{ratio}"))
    print_result(shown, facts, as_json)


@main.command()
@store_command
@path_argument
@click.option("--depth", type=click.IntRange(min=1), help="How many levels to show; all by default.")
def tree(store: str, path: str, depth: int | None, storage_options: dict[str, Any] | None, as_json: bool) -> None:
    """Show a group and everything in it.

    PATH is its place in STORE, by default the root.
    """
    shown = open_group(store, path, storage_options=storage_options).tree(depth)
    print_result(shown, shown.as_dict(), as_json)


@main.command()
@store_command
@click.argument("selection", default="...")
@array_option("The array's path in STORE; by default STORE is the array.")
@click.option("--limit", type=click.IntRange(min=0), help="How many stored objects to look up.")
def explain(
    store: str,
    selection: str,
    path: str,
    limit: int | None,
    storage_options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Show which objects and bytes reading a selection would fetch.

    SELECTION is written as in Python, for example "[0, :, 10:20]"; by default it is everything.
    """
    shown = open_array(store, path, storage_options=storage_options).explain(parse_selection(selection), limit)
    print_result(shown, shown.as_dict(), as_json)


def parse_selection(text: str) -> tuple[Any, ...]:
    """Return the selection that ``text`` means: whole numbers, slices and "...", in brackets or not."""
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    inside = inside.strip().removesuffix(",")
    return tuple(_parse_item(item.strip(), text) for item in inside.split(",")) if inside else ()


def _parse_item(item: str, text: str) -> Any:
    if item == "...":
        return Ellipsis
    numbers = [part.strip() for part in item.split(":")]
    try:
        if len(numbers) == 1:
            return int(item)
        if len(numbers) > 3:
            raise ValueError
        return slice(*(int(number) if number else None for number in numbers))
    except ValueError:
        raise XzarrError(
            f"{item!r} is not a whole number, a slice or '...', in the selection {text!r}",
            hint='write it as in Python: "[0, :, 10:20]"',
        ) from None


@main.command()
def demo() -> None:
    """Make a small climate dataset, open it with xarray, compute on a dask cluster.

    Works in a temporary folder, which is removed at the end.
    """
    from .demo import run_demo

    run_demo(click.echo)


for command in (*COMMANDS, *CHECKS, *PROFILES, *COMPLETION):
    main.add_command(command)
