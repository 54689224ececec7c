"""What the shell completes behind ``xzarr``, and the command that prints the script for it.

Imports click; opening loads when a path is completed. Invariant: pressing TAB never fails, never writes, and asks no
remote store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from .paths import join

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_XZARR_COMPLETE"  # where click looks whether it is asked for completions


def stores(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a place: the shell lists folders and archives."""
    return [CompletionItem(incomplete, type="file")]


def members(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a path in the store that stands before it, one level at a time."""
    # behind an option that waits for its value, click leaves the arguments unparsed
    place = str(context.params.get("store") or context.params.get("src") or next(iter(context.args), ""))
    if not place or "://" in place:
        return []
    from .opening import open_group

    group = incomplete.rpartition("/")[0]
    try:
        names = list(open_group(place, group))
    except Exception:  # no store, no group, not readable: nothing to complete
        return []
    paths = (join(group, name) for name in sorted(names))
    return [CompletionItem(path) for path in paths if path.startswith(incomplete)]


def words(*known: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes one of the ``known`` words."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return complete


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, stores and paths.

    For bash, this line goes into ~/.bashrc (for zsh into ~/.zshrc, with zsh in the place of bash):

    \b
        eval "$(xzarr completion bash)"

    For fish:

    \b
        xzarr completion fish > ~/.config/fish/completions/xzarr.fish
    """
    script: Any = get_completion_class(shell)
    click.echo(script(context.find_root().command, {}, "xzarr", VARIABLE).source())


COMMANDS = (completion,)
