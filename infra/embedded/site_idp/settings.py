"""Settings of the embedded identity provider."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinward.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class IdpSettings:
    site: str
    profile: str
    program: str = "site-idp"
    listen: str  # host:port, loopback
    metrics_listen: str = ""
    issuer: str
    ca_file: Path  # who may have signed clients' certificates
    certificate_file: Path
    key_file: Path
    people_dir: Path  # a file per demo person: the password
    clients_dir: Path  # a file per program: its ES256 key
    keys_file: Path  # signing keys, made here
    rotate_hours: int = 24
    token_seconds: int = 300
    session_hours: int = 12
    log_level: str = "info"

    def __post_init__(self) -> None:
        """
        Raises:
            BadInput: another profile, an issuer that does not say what it is, or not loopback.
        """
        if self.profile != "demo":
            raise BadInput("the embedded identity provider serves profile demo only: set an external issuer")
        if "/embedded" not in self.issuer:
            raise BadInput("the issuer of the embedded identity provider must contain /embedded")
        if self.listen.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
            raise BadInput("the embedded identity provider listens on loopback only")
        if self.token_seconds > 300:
            raise BadInput("tokens live at most 300 s")
