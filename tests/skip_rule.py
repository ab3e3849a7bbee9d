"""Fails the run on any skipped test that tests/allowed_skips.txt does not name.

A line of that file is `<test id, or the part before its [>  <reason>`; a skip is
allowed only while its own reason says the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed(text: str) -> dict[str, str]:
    rows = (line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows}


def unlisted(skips: dict[str, str], listed: dict[str, str]) -> list[str]:
    found = []
    for test, reason in sorted(skips.items()):
        expected = listed.get(test) or listed.get(test.split("[")[0])
        if not expected or expected not in reason:
            found.append(f"{test}: {reason}")
    return found


class SkipRule:
    def __init__(self) -> None:
        self.skips: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skips[report.nodeid] = reason

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skips[report.nodeid] = reason

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        rows = unlisted(self.skips, allowed(ALLOWED.read_text()))
        if rows:
            reporter = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                reporter.write_line("")
                reporter.write_line("skipped without being listed in tests/allowed_skips.txt:")
                for row in rows:
                    reporter.write_line(f"  {row}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipRule(), "twinward-skip-rule")
