"""Elements of a page: text is escaped where it enters, and nowhere else; nothing is fetched from anywhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

CSS = """
:root { color-scheme: light dark; --ink: #1c2127; --paper: #ffffff; --soft: #59636e; --line: #d0d7de;
  --one: #0b6bcb; --two: #b35900; --wash: #f3f5f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #14181d; --soft: #a3adb8; --line: #3a434d;
  --one: #6cb2ff; --two: #f0a35a; --wash: #1d232a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; } .soft, caption, figcaption { color: var(--soft); font-size: .875rem; }
.note { border-left: 4px solid var(--two); background: var(--wash); padding: .6rem .9rem; max-width: none; }
.wide { overflow-x: auto; margin: 0 0 1.4rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .82rem; }
caption { text-align: left; padding-bottom: .4rem; } th, td { padding: .35rem .45rem; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; } th { font-weight: 600; }
th[scope=row], td.words, th.words { text-align: left; } td.long { white-space: normal; overflow-wrap: anywhere; }
.figures { align-items: start; display: grid; gap: 1.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font-size: 12px; }
svg .dim { fill: var(--soft); } svg .axis { stroke: var(--line); } svg .one { stroke: var(--one); fill: var(--one); }
svg .two { stroke: var(--two); fill: var(--two); } svg .none { fill: none; } svg .whisker { stroke: var(--ink); }
code { font-size: .85em; overflow-wrap: anywhere; }
"""
EMPTY = frozenset({"meta", "line", "rect", "circle", "path", "polyline"})


class Markup(str):
    """Text that is already escaped."""

    __slots__ = ()


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One element. `class_` and the like lose their last underscore, the others become hyphens."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for name, value in attributes.items()
    )
    inside = "".join(child if isinstance(child, Markup) else html.escape(str(child)) for child in children)
    if tag in EMPTY:
        return Markup(f"<{tag}{said}/>")
    return Markup(f"<{tag}{said}>{inside}</{tag}>")


def joined(parts: Sequence[Markup]) -> Markup:
    return Markup("".join(parts))


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    words: Sequence[int] = (),
    *,
    long: bool = False,
) -> Markup:
    """The first cell of a row names it; `words`: columns that hold words; `long`: so many that lines break."""
    kind = "words long" if long else "words"
    names = (el("th", text, scope="col", class_="words" if k == 0 or k in words else "") for k, text in enumerate(head))
    body = []
    for row in rows:
        cells = [el("th", row[0], scope="row")]
        cells += [el("td", cell, class_=kind if k in words else "") for k, cell in enumerate(row[1:], 1)]
        body.append(el("tr", *cells))
    made = el("table", el("caption", caption), el("thead", el("tr", *names)), el("tbody", *body))
    return el("div", made, class_="wide", tabindex="0", role="region", aria_label=caption)


def figure(drawing: Markup, caption: str) -> Markup:
    return el("figure", drawing, el("figcaption", caption))


def page(title: str, *parts: Markup) -> bytes:
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("title", title),
        el("style", Markup(CSS)),
    )
    return f"<!doctype html>\n{el('html', head, el('body', el('main', *parts)), lang='en')}\n".encode()


def number(value: object, digits: int = 3) -> str:
    """For people: as many digits as mean something; a dash where it is withheld or has no value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    size = abs(value)
    if size >= 10:
        return f"{value:.1f}".rstrip("0").rstrip(".")
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if size >= 0.01 else f"{value:.2g}"


def interval(value: object, low: object, high: object) -> str:
    """Value with its 95 % interval."""
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"
