"""The approval page: plain HTML, no script."""

from __future__ import annotations

from html import escape

from infra.embedded.site_idp.sessions import PURPOSES
from twinward.record import Purpose

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{site}: log in</title>
<style>body{font:16px system-ui;max-width:30rem;margin:3rem auto;padding:0 1rem}
label{display:block;margin:1rem 0 .2rem}input,select,button{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}
.demo{background:#fde68a;padding:.5rem}.problem{color:#b91c1c}</style>
<p class="demo">Demonstration node: synthetic and published de-identified data only.</p><h1>{site}</h1>
"""
DONE = HEAD + "<p>You are logged in. This page can be closed.</p></html>"


def form(site: str, user_code: str, problem: str) -> str:
    """The page with `problem` shown where there is one; everything is escaped."""
    accounts = "".join(f"<option>{escape(role)}</option>" for role in PURPOSES)
    purposes = "".join(f"<option>{escape(purpose)}</option>" for purpose in Purpose)
    shown = f'<p class="problem">{escape(problem)}</p>' if problem else ""
    return (
        HEAD.replace("{site}", escape(site))
        + shown
        + f"""<form method="post">
<label>Code shown by the program<input name="user_code" value="{escape(user_code, quote=True)}" required></label>
<label>Account<select name="account">{accounts}</select></label>
<label>Password<input name="password" type="password" autocomplete="off" required></label>
<label>Purpose<select name="purpose"><option value="">as asked for</option>{purposes}</select></label>
<p><button>Log in</button></p></form></html>"""
    )
