"""What several commands of ``xzarr`` take and print.

Imports click, cli_completion and rows far below. Invariant: an option means the same in every command, and so do exit
statuses 2 and 130.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from .attribute_values import without_bare_numbers
from .cli_completion import members, stores, words
from .display_text import plain
from .errors import XzarrError

CANNOT_RUN = 2
# written out, so that help and TAB need not load the tables
PROFILE_NAMES, WRITER_NAMES = ("exzarr", "portable", "zarr-python-2"), ("exzarr",)
INTERRUPTED = 130  # the exit status after Ctrl-C, as shells have it

Command = TypeVar("Command", bound=Callable[..., Any])


class _CannotRun(click.ClickException):
    exit_code = CANNOT_RUN


@contextmanager
def failing_with_two() -> Iterator[None]:
    """End a command that looks for problems with status 2 where it cannot look: 1 says that it found some."""
    try:
        yield
    except Exception as error:
        if not is_message(error):
            raise
        raise _CannotRun(plain(message_of(error), keep="\n")) from error


def read_options(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any] | None:
    """Read ``NAME=VALUE`` pairs; values are JSON where they can be, else text."""
    options: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options or None


def storage_option(*names: str, of: str) -> Callable[[Command], Command]:
    """Add an option for the file system of a URL; the last of ``names`` is the keyword."""
    return click.option(
        *names,
        multiple=True,
        metavar="NAME=VALUE",
        callback=read_options,
        help=f"An option for the file system of {of}, such as anon=true. May be repeated.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def store_command(command: Command) -> Command:
    """Add what all commands on a store take."""
    options = storage_option("-o", "--option", "storage_options", of="a URL")
    return click.argument("store", shell_complete=stores)(options(json_option(command)))


path_argument = click.argument("path", default="", shell_complete=members)


def array_option(text: str) -> Callable[[Command], Command]:
    """Add the option that names an array in the store; ``text`` is its help."""
    return click.option("-a", "--array", "path", default="", metavar="PATH", shell_complete=members, help=text)


def profile_option(*names: str, text: str, required: bool = False) -> Callable[[Command], Command]:
    """Add the option that names a profile; ``text`` is the beginning of its help."""
    listed = ", ".join(f'"{name}"' for name in PROFILE_NAMES)
    return click.option(
        *names,
        "--profile",
        required=required,
        metavar="PROFILE",
        shell_complete=words(*PROFILE_NAMES),
        help=f"{text}: {listed}.",
    )


quirks_option = click.option(
    "--quirks",
    metavar="WRITER",
    shell_complete=words(*WRITER_NAMES),
    help='The writer that is known to have written the store: "exzarr".',
)


def is_message(error: Exception) -> bool:
    """Return whether an error tells of what was asked for, and not of a fault in here."""
    ours = isinstance(error, XzarrError | OSError)
    return ours or type(error).__module__.partition(".")[0] in ("aiohttp", "botocore", "aiobotocore", "obstore")


def message_of(error: BaseException) -> str:
    """Return what an error says: those of the system in three lines as ours are."""
    if not isinstance(error, OSError) or isinstance(error, XzarrError) or not error.strerror:
        return str(error) or type(error).__name__
    where = f"\n  at {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}\n  check the path, the permissions and the connection"


def print_result(shown: Any, facts: dict[str, Any], as_json: bool) -> None:
    """Print the facts as JSON, or what is shown as text."""
    click.echo(json_text(facts) if as_json else str(shown))


def json_text(facts: dict[str, Any]) -> str:
    """Return facts as JSON that every reader takes: no bare NaN, and text for what JSON cannot hold."""
    plain = json.loads(json.dumps(facts, default=str))
    return json.dumps(without_bare_numbers(plain), indent=2, allow_nan=False)
