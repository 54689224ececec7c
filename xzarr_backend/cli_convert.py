"""The commands ``xzarr convert``, ``copy`` and ``consolidate``.

Imports click and cli_options; each command loads what it needs. Invariant: Ctrl-C ends a conversion with exit status
130 and says how to go on with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from .cli_completion import members, stores
from .cli_options import (
    INTERRUPTED,
    Command,
    json_option,
    path_argument,
    print_result,
    profile_option,
    quirks_option,
    storage_option,
    store_command,
)
from .errors import XzarrError


def _both_stores(command: Command) -> Command:
    """Add what commands take that write one store from another."""
    decorators: list[Callable[[Any], Any]] = [
        click.argument("src", shell_complete=stores),
        click.argument("dst", shell_complete=stores),
        click.option(
            "-p",
            "--path",
            default="",
            metavar="PATH",
            shell_complete=members,
            help="The node of SRC to take; it becomes the root of DST.",
        ),
        click.option("--memory", default="256MiB", show_default=True, help="What may be used at a time, in all."),
        click.option("--verify", is_flag=True, help="Read both stores again and compare them, bit by bit."),
        click.option("--resume", is_flag=True, help="Go on where the same command was interrupted."),
        click.option("--overwrite", is_flag=True, help="Replace what is stored at DST."),
        click.option("--scheduler", metavar="ADDRESS", help="Run on this dask cluster, such as tcp://host:8786."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        storage_option("-o", "--option", "storage_options", of="SRC"),
        storage_option("-O", "--target-option", "target_storage_options", of="DST"),
        json_option,
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@click.command()
@_both_stores
@click.option("--zarr-format", type=click.Choice(["2", "3"]), help="The format of DST; by default that of SRC.")
@click.option("--chunks", help='Lengths "1,512,512", by name "time=1,lat=90", one number, "auto" or "16MiB".')
@click.option("--shards", help='As --chunks; "none" removes shards.')
@click.option("--compressor", "compressors", multiple=True, help='A name, JSON, "auto" or "none". May be repeated.')
@click.option(
    "--filter", "filters", multiple=True, help='A codec on elements: a name, JSON, or "none". May be repeated.'
)
@click.option("--separator", type=click.Choice(["/", "."]), help="What stands between the numbers of a chunk's key.")
@click.option("--consolidated/--no-consolidated", default=None, help="Consolidated metadata; by default as in SRC.")
@profile_option(text="Write what certain readers can read")
@quirks_option
@click.option("--allow-codec", "allow_codecs", multiple=True, help='Allow a codec that executes code ("pickle").')
def convert(
    src: str,
    dst: str,
    zarr_format: str | None,
    chunks: str | None,
    shards: str | None,
    compressors: tuple[str, ...],
    filters: tuple[str, ...],
    separator: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Convert SRC to DST: another format, chunks, shards, codecs, keys, or another kind of store.

    What no option changes stays as it is. Both are folders, .zip archives or URLs.
    """
    from .converting import convert

    wishes = {
        "zarr_format": None if zarr_format is None else int(zarr_format),
        "chunks": parse_lengths("--chunks", chunks),
        "shards": False if shards == "none" else parse_lengths("--shards", shards),
        "compressors": _codecs(compressors),
        "filters": _codecs(filters),
        "chunk_key_encoding": separator,
    }
    _carry_out(convert, src, dst, as_json, quiet, {**wishes, **options})


@click.command()
@_both_stores
def copy(src: str, dst: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Copy every object of SRC to DST as it is."""
    from .copying import copy

    _carry_out(copy, src, dst, as_json, quiet, options)


@click.command()
@store_command
@path_argument
def consolidate(store: str, path: str, storage_options: dict[str, Any] | None, as_json: bool) -> None:
    """Write the metadata of all members of a group into one document.

    PATH is the group's place in STORE, by default the root.
    """
    from .consolidation import consolidate_metadata

    group = consolidate_metadata(store, path, storage_options=storage_options)
    members = [name for name, _ in group.members(depth=None)]
    group.close()
    facts = {"store": group.store.url, "path": group.path, "members": members}
    print_result(f"consolidated the metadata of {len(members)} members of {group.store.url}", facts, as_json)


COMMANDS = (convert, copy, consolidate)


def _carry_out(action: Any, src: str, dst: str, as_json: bool, quiet: bool, options: dict[str, Any]) -> None:
    shown = not quiet and sys.stderr.isatty()
    try:
        report = action(src, dst, progress=_show_progress if shown else None, **options)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted: {dst} is unfinished; the same command with --resume goes on", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)
    print_result(report, report.as_dict(), as_json)


def _show_progress(finished: int, total: int, label: str) -> None:
    share = finished / max(total, 1)
    bar = "#" * int(30 * share)
    click.echo(f"\r\x1b[K[{bar:<30}] {share:4.0%} {finished}/{total} {label[:30]!r}", nl=False, err=True)


def parse_lengths(option: str, text: str | None) -> Any:
    """Return what ``text`` means as ``chunks``: None, a number, a tuple, lengths by dimension, or the text itself."""
    if text is None:
        return None
    items = [item.strip() for item in text.strip("()[] ").split(",") if item.strip()]
    if all("=" in item for item in items) and items:
        pairs = (item.partition("=") for item in items)
        return {name.strip(): _length(option, length) for name, _, length in pairs}
    if len(items) == 1 and not text.strip().endswith(",") and "(" not in text:
        return int(items[0]) if items[0].lstrip("-").isdigit() else items[0]
    return tuple(_length(option, item) for item in items)


def _length(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        hint = 'write lengths as "1,512,512" or "time=1,lat=90"'
        raise XzarrError(f"{option}: {text!r} is not a whole number", hint=hint) from None


def _codecs(given: tuple[str, ...]) -> Any:
    if not given:
        return "keep"
    if given in (("none",), ("auto",)):
        return None if given == ("none",) else "auto"
    return [_codec(text) for text in given]


def _codec(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise XzarrError(f"the codec {text!r} is not JSON: {error.msg}", hint='write {"name": ..., ...}') from None
