"""`twinward NOUN VERB`: the command line. Nouns are loaded when they are used."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import version
from pathlib import Path

# Before anything loads gRPC: its core writes of broken connections to stderr, over our sentence.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import click

from services.cli.output import Options, Output, epilog, finish

NOUNS = {
    "node": "Make, start, watch and stop a hospital's node.",
    "coordinator": "Make, start and watch a coordinator; invite hospitals.",
    "site": "Join a coordinator, leave it, see the connection.",
    "study": "Write, decide on, run and read studies of several hospitals.",
    "login": "Log in.",
    "ingest": "Bring FHIR, sensor files and tables in.",
    "consent": "Show, set and withdraw a patient's consent.",
    "audit": "Read and verify the ledger.",
    "twin": "Ask the living twins.",
    "anatomy": "Measure CT labels; try a valve's repair.",
    "session": "Practise on a teaching case; see, steer and compare sessions.",
    "virtual": "Write virtual patients as FHIR and sensor files.",
    "demo": "The story of a hospital, and of three that learn together, told and run.",
}


class Nouns(click.Group):
    """Looks a noun up in its module: `group` or `command` there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [noun for noun in NOUNS if importlib.util.find_spec(f"services.cli.{noun}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"services.cli.{cmd_name}")
        found = getattr(module, "group", None) or getattr(module, "command", None)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that --help loads no noun."""
        with formatter.section("Nouns"):
            formatter.write_dl([(noun, NOUNS[noun]) for noun in self.list_commands(ctx)])


HELP = """Living digital twins of a hospital's patients.

Every command speaks to a node, a hospital's or a coordinator's: the one in --node, in $TWINWARD_NODE, or in
this folder.

\b
Shell completion:
  eval "$(_TWINWARD_COMPLETE=bash_source twinward)"      (or zsh_source, fish_source)
"""


@click.group(cls=Nouns, help=HELP, epilog=epilog(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--node", type=click.Path(path_type=Path, file_okay=False), envvar="TWINWARD_NODE", default=".",
              help="Directory of the node.", show_default=True)  # fmt: skip
@click.option("--as", "role", metavar="ROLE", help="Work in this role, for example clinician or auditor.")
@click.option("--purpose", metavar="P", help="What for: treatment, teaching, research, audit, operations.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
@click.version_option(version("twinward"), prog_name="twinward")
@click.pass_context
def twinward(ctx: click.Context, node: Path, role: str | None, purpose: str | None, as_json: bool) -> None:
    ctx.obj = Options(node, role, purpose, OUT)
    OUT.as_json = as_json


OUT = Output()


def main() -> None:
    """The console script. `--json` may stand anywhere before a `--`."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    OUT.as_json = "--json" in given[:end]
    arguments = [word for word in given[:end] if word != "--json"] + given[end:]
    if OUT.as_json:
        arguments.insert(0, "--json")
    sys.exit(finish(lambda: twinward.main(arguments, prog_name="twinward", standalone_mode=False), lambda: OUT))


if __name__ == "__main__":
    main()
