"""What every command shares: global options, output for people or machines, errors as one sentence.

@click.group()
def group() -> None: ...

@group.command()
@click.pass_obj
def show(options: Options) -> None:
    session = options.session("clinician")
    options.out.show({"handle": ...}, lambda: table)     # JSON with --json, else what the function gives
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, RenderableType
from rich.text import Text

from twinward.errors import (
    BadInput,
    Busy,
    Cancelled,
    Conflict,
    Denied,
    NotFound,
    Tampered,
    TwinwardError,
    Unauthenticated,
    Unavailable,
    Unready,
)

if TYPE_CHECKING:
    from services.cli.session import Session

EXIT_CODES: Mapping[type[TwinwardError], int] = {
    BadInput: 3,
    Unauthenticated: 4,
    Denied: 5,
    NotFound: 6,
    Conflict: 7,
    Unready: 8,
    Busy: 9,
    Unavailable: 9,
    Tampered: 10,
    Cancelled: 11,
}
MEANINGS = {
    0: "done",
    1: "an error nobody foresaw",
    2: "the command line is wrong",
    3: "the input is wrong",
    4: "not logged in, or the login has ended",
    5: "decided, and the answer is no",
    6: "not found",
    7: "it exists already with other content",
    8: "something has to be done first",
    9: "something needed does not answer, or is too busy: try again",
    10: "what is stored is not what was stored",
    11: "cancelled",
    130: "interrupted",
}


def exit_code(error: TwinwardError) -> int:
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


@dataclass
class Output:
    """stdout for results, stderr for everything else."""

    as_json: bool = False
    console: Console = field(default_factory=lambda: Console(emoji=False))
    errors: Console = field(default_factory=lambda: Console(stderr=True, emoji=False))

    def show(
        self, data: Mapping[str, object] | Sequence[object], people: Callable[[], RenderableType | None] | None = None
    ) -> None:
        """`data` as one JSON document with --json; else what `people` gives, for eyes."""
        if self.as_json or people is None:
            sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
            return
        shown = people()
        if shown is not None:
            # Sentences are not broken: a command in them must survive copy and paste.
            self.console.print(shown, soft_wrap=isinstance(shown, (str, Text)), highlight=False)

    def say(self, text: str) -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(text, highlight=False)

    def warn(self, text: str) -> None:
        self.errors.print(f"[yellow]{text}[/yellow]", highlight=False)

    def fail(self, error: TwinwardError) -> None:
        """One sentence, and with --json the reason as a word."""
        if self.as_json:
            sys.stderr.write(json.dumps({"error": error.reason, "message": error.public}) + "\n")
        else:
            self.errors.print(f"[red]{type(error).__name__}[/red] ", end="", highlight=False)
            self.errors.print(error.public, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Options:
    """The global options, as `click.pass_obj` gives them."""

    node: Path
    role: str | None
    purpose: str | None
    out: Output

    def session(self, role: str) -> Session:
        """A session as `--as ROLE`, or as `role` where nothing was asked for.

        Raises:
            Unauthenticated: nobody has logged in with that role.
            Unready, Unavailable: the node is not up.
        """
        from services.cli.session import Session

        return Session.open(self.node, self.role or role, self.purpose)


def epilog() -> str:
    """Exit codes for `twinward --help`."""
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\nExit codes:\n{codes}"


def finish(run: Callable[[], object], out: Callable[[], Output]) -> int:
    """Runs a command; every refusal becomes its sentence and its exit code."""
    try:
        run()
    except TwinwardError as error:
        out().fail(error)
        return exit_code(error)
    except click.exceptions.Exit as ended:
        return int(ended.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: no traceback at exit
        return 0
    return 0
