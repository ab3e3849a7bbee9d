"""`twinward login`: a person's session, by the device flow."""

from __future__ import annotations

import click
from rich.panel import Panel

from services.cli.output import Options
from services.cli.session import Reach, Session
from twinward.clock import SystemClock


@click.command(name="login", help="Log in. On a demo node the role's own password is used; else approve in a browser.")
@click.option("--browser", is_flag=True, help="Show address and code even where the node knows the password.")
@click.option("--forget", is_flag=True, help="End the session on this machine.")
@click.pass_obj
def command(options: Options, browser: bool, forget: bool) -> None:
    reach = Reach.of(options.node)
    role = options.role or "clinician"
    session = Session(reach, role, options.purpose, SystemClock())
    if forget:
        session.forget()
        options.out.say(f"The session as {role} on this machine is over.")
        return
    known = (reach.people / role).exists()

    def announce(address: str, code: str) -> None:
        options.out.errors.print(Panel(f"Open {address}\nand approve the code [bold]{code}[/bold].", title="Log in"))

    session.login(None if known and not browser else announce)
    options.out.show(
        {"role": role, "purpose": options.purpose, "site": reach.site},
        lambda: f"Logged in at {reach.site} as [bold]{role}[/bold].",
    )
