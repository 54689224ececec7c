"""The command line: what the commands print, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

import xzarr_backend as xz
from xzarr_backend.cli import main, parse_selection
from xzarr_backend.cli_options import PROFILE_NAMES, WRITER_NAMES
from xzarr_backend.compat import WRITERS
from xzarr_backend.profiles import PROFILES
from xzarr_backend.stores.local import LocalStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A store with a group, an array in it, and a member that cannot be read."""
    path = tmp_path / "data.zarr"
    xz.create_group(path, attributes={"title": "Trial"})
    xz.create_array(
        path, "t2m", data=np.arange(24.0).reshape(4, 6), chunks=(2, 3), compressors=None, dimension_names=("y", "x")
    )
    (path / "wrong").mkdir()
    (path / "wrong" / "zarr.json").write_text("{")
    return str(path)


def run(*arguments: str) -> Result:
    """Run ``xzarr`` in this process."""
    return CliRunner().invoke(main, list(arguments))


def as_json(*arguments: str) -> Any:
    """Run ``xzarr`` with ``--json`` and return what it prints."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_info_shows_groups_and_arrays(place: str) -> None:
    """``xzarr info`` prints the summary of a node, as text and as JSON."""
    assert "Trial" in run("info", place).stdout
    assert "float64" in run("info", place, "t2m").stdout
    assert as_json("info", place)["arrays"] == ["t2m"]
    assert as_json("info", place, "t2m")["shape"] == [4, 6]


def test_info_counts_what_is_stored(place: str) -> None:
    """``--stored`` adds the number of stored chunks and their bytes."""
    facts = as_json("info", place, "t2m", "--stored")
    assert (facts["nchunks_stored"], facts["nbytes_stored"]) == (4, 192)
    assert "4 objects, 192 bytes, 1 times smaller" in run("info", place, "t2m", "--stored").stdout


def test_tree_shows_members_and_what_cannot_be_read(place: str) -> None:
    """``xzarr tree`` prints all members; one that is broken does not hide the others."""
    shown = run("tree", place)
    assert shown.exit_code == 0
    assert "t2m  (y 4, x 6) float64" in shown.stdout and "wrong  zarr.json is not JSON" in shown.stdout
    assert [member["name"] for member in as_json("tree", place, "--depth", "1")["members"]] == ["t2m", "wrong"]


def test_explain_takes_a_selection(place: str) -> None:
    """``xzarr explain`` lists what a selection needs; without one, all of the array."""
    found = as_json("explain", place, "[-1, 1:3]", "--array", "t2m")
    assert [stored["key"] for stored in found["objects"]] == ["t2m/c/1/0"]
    assert found["shape"] == [2] and found["fetched_nbytes"] == 48
    assert as_json("explain", f"{place}/t2m")["objects_needed"] == 4
    assert "1 chunk, all stored" in run("explain", place, "0, 0", "-a", "t2m").stdout


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("...", (Ellipsis,)),
        ("[]", ()),
        ("[0, :, 10:20]", (0, slice(None), slice(10, 20))),
        ("-3,::2,...", (-3, slice(None, None, 2), Ellipsis)),
        ("[1,]", (1,)),
        (" [ 5: , :-1 ] ", (slice(5, None), slice(None, -1))),
    ],
)
def test_selections_are_read_as_in_python(text: str, selection: tuple[Any, ...]) -> None:
    """Whole numbers, slices and the ellipsis, with or without brackets."""
    assert parse_selection(text) == selection


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "nowhere.zarr"], "no Zarr node is stored here"),
        (["info", "{place}", "t3m"], "no Zarr node is stored here"),
        (["tree", "{place}", "t2m"], "an array lies here, not a group"),
        (["explain", "{place}"], "a group lies here, not an array"),
        (["explain", "{place}", "9,0", "-a", "t2m"], "out of bounds"),
        (["explain", "{place}", "x", "-a", "t2m"], "is not a whole number"),
        (["explain", "{place}", "1:2:3:4", "-a", "t2m"], "is not a whole number"),
        (["explain", "{place}", "[0, 1", "-a", "t2m"], "'[0' is not a whole number"),
        (["info", "{place}", "wrong"], "is not JSON"),
        (["info", "{place}", "../elsewhere"], "is not a key"),
        (["info", "{place}", "-o", "anon=true"], "storage_options are for URLs"),
    ],
)
def test_our_errors_are_one_message_with_status_1(place: str, arguments: list[str], words: str) -> None:
    """An error of ours goes to the standard error as a message, never as a traceback."""
    result = run(*(argument.format(place=place) for argument in arguments))
    assert result.exit_code == 1
    assert words in result.stderr and result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output and result.stdout == ""
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("command", ["info", "tree", "consolidate", "explain", "convert", "copy", "doctor", "verify"])
def test_errors_of_the_system_are_one_message_too(
    command: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission denied: the message names the file, and no command shows a traceback."""
    denied = str(tmp_path / "data.zarr" / "zarr.json")

    def deny(*given: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", denied)

    for method in ("get", "get_many", "walk", "list_dir", "size"):
        monkeypatch.setattr(LocalStore, method, deny)
    result = run(command, place, *([str(tmp_path / "out")] if command in ("convert", "copy") else []))
    assert result.exit_code in ((2, 1) if command in ("doctor", "verify") else (1,))
    assert "Permission denied" in result.output and "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_ctrl_c_is_status_130(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells have it, in every command."""

    def interrupt(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, "get", interrupt)
    result = run("info", place)
    assert (result.exit_code, result.stderr.strip()) == (130, "interrupted")


def completed(*typed: str) -> list[str]:
    """What the shell is offered for the last of these words, which is not finished."""
    shell = ShellComplete(main, {}, "xzarr", "_XZARR_COMPLETE")
    return [
        f"<{item.type}>" if item.type != "plain" else item.value
        for item in shell.get_completions(list(typed[:-1]), typed[-1])
    ]


def test_the_shell_completes(place: str) -> None:
    """Commands, options, words that are known, files for stores, and the members of the store that was typed."""
    xz.create_array(place, "deep/er/a", data=[1])
    assert completed("con") == ["consolidate", "convert"]
    assert completed("verify", "--sa") == ["--sample"]
    assert completed("convert", "a", "b", "--profile", "") == list(PROFILES) == list(PROFILE_NAMES)
    assert completed("doctor", "a", "--quirks", "e") == list(WRITERS) == list(WRITER_NAMES)
    for words in (["info", ""], ["convert", place, ""], ["verify", "da"]):
        assert completed(*words) == ["<file>"]
    assert completed("info", place, "t") == ["t2m"]
    assert completed("explain", place, "-a", "de") == completed("convert", place, "b", "--path", "de") == ["deep"]
    assert completed("tree", place, "deep/") == ["deep/er"]
    assert completed("info", "memory://x", "t") == completed("info", "nowhere", "") == []


@pytest.mark.parametrize(
    ("shell", "words"), [("bash", "complete -o"), ("zsh", "#compdef xzarr"), ("fish", "complete --")]
)
def test_the_script_for_completion(shell: str, words: str) -> None:
    """``xzarr completion`` prints what a shell evaluates."""
    result = run("completion", shell)
    assert result.exit_code == 0 and words in result.stdout and "_XZARR_COMPLETE" in result.stdout


def test_json_is_json(tmp_path: Path) -> None:
    """NaN among the attributes, and values that JSON does not have, are written as other readers take them."""
    attributes = {"nan": float("nan"), "deep": [{"inf": float("-inf")}], "when": np.datetime64("2020-01-01")}
    xz.create_array(tmp_path / "a", shape=(2,), dtype="f4", fill_value=np.nan, attributes=attributes)

    def refuse(name: str) -> None:
        raise ValueError(name)

    found = json.loads(run("info", str(tmp_path / "a"), "--json").stdout, parse_constant=refuse)
    assert found["attributes"]["nan"] == "NaN" and found["attributes"]["when"].startswith("2020-01-01")


def test_wrong_use_is_status_2() -> None:
    """What is wrong with the command line itself is reported as such."""
    assert run("info").exit_code == 2
    assert run("info", "x", "-o", "novalue").exit_code == 2
    assert run("unknown").exit_code == 2


def test_options_of_filesystems_are_passed_on() -> None:
    """``-o NAME=VALUE`` reaches the filesystem of a URL; values are JSON where they can be."""
    xz.create_array("memory://cli-trial.zarr", data=[1, 2])
    assert as_json("info", "memory://cli-trial.zarr", "-o", "skip_instance_cache=true", "-o", "tag=text")["shape"] == [
        2
    ]


def test_messages_cannot_move_the_cursor(tmp_path: Path) -> None:
    """Control characters in names are shown as escapes in errors too."""
    result = run("info", str(tmp_path), "a\x1b[2J")
    assert result.exit_code == 1 and "\x1b" not in result.output


def test_help_and_version() -> None:
    """``--help`` lists the commands, ``--version`` says the version."""
    shown = run("--help").stdout
    assert all(command in shown for command in ("demo", "info", "tree", "explain"))
    assert xz.__version__ in run("--version").stdout


def test_the_command_runs_as_a_process(place: str) -> None:
    """Run as a program, a failure has exit status 1 and no traceback, a success loads no xarray or dask."""
    program = "import sys; from xzarr_backend.cli import main\ntry: main()\nfinally: assert 'xarray' not in sys.modules"
    failed = subprocess.run(
        [sys.executable, "-c", program, "info", place, "nothing"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert failed.returncode == 1 and failed.stderr.startswith("Error: ") and "Traceback" not in failed.stderr
    done = subprocess.run(
        [sys.executable, "-c", program, "tree", place], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0 and "t2m" in done.stdout


def test_errors_of_transports_are_messages() -> None:
    """As ours and the system's are; what is wrong in here still shows where."""
    from xzarr_backend.cli_options import is_message

    foreign = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})
    assert is_message(foreign("no answer")) and is_message(OSError()) and is_message(xz.XzarrError("x"))
    assert not is_message(TypeError("a fault"))
