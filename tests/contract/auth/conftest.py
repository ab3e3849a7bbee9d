from __future__ import annotations

from tests.contract.auth.running import running

__all__ = ["running"]
