"""The command ``xzarr check``: what the readers of a profile cannot read.

Imports click and cli_options; loads the rest when it runs. Invariant: the exit status is 0 where nothing is violated, 1
where something is, 2 where the command could not run.
"""

from __future__ import annotations

from typing import Any

import click

from .cli_options import failing_with_two, json_text, profile_option, store_command
from .display_text import plain


@click.command()
@store_command
@profile_option("-p", text="The readers to check for", required=True)
@click.option("--chunks/--no-chunks", default=True, help="Look into every chunk too; on by default.")
def check(store: str, profile: str, chunks: bool, storage_options: dict[str, Any] | None, as_json: bool) -> None:
    """List what the readers of a profile cannot read in STORE, or would read wrongly, with the fix.

    The exit status is 0 where there is nothing, 1 where there is something, 2 when the command cannot run.
    """
    from .profile_checking import check_profile

    with failing_with_two():
        found = check_profile(store, profile, chunks=chunks, storage_options=storage_options)
    if as_json:
        click.echo(json_text({"store": store, "profile": profile, "violations": [v._asdict() for v in found]}))
    else:
        for violation in found:
            click.echo(plain(str(violation), keep="\n"))
        click.echo(f"{len(found)} violation(s) of the profile {profile!r}")
    if found:
        raise SystemExit(1)


COMMANDS = (check,)
