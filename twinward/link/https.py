"""The little HTTPS that talks to an identity provider: small answers, one authority, no redirects."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from twinward.errors import Malformed, Unavailable

MOST_BYTES = 256 * 1024
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, object]


class Https:
    """Requests under one trust bundle, with a client certificate where given."""

    def __init__(
        self, ca_file: Path | None, certificate_file: Path | None = None, key_file: Path | None = None
    ) -> None:
        self._context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate_file is not None:
            self._context.load_cert_chain(str(certificate_file), None if key_file is None else str(key_file))

    def get(self, url: str) -> Answer:
        """
        Raises:
            Unavailable: no answer within 5 s.
            Malformed: the answer is no JSON object or over 256 KiB.
        """
        return self._ask("GET", url, None)

    def post(self, url: str, form: Mapping[str, str]) -> Answer:
        """As `get`, with a form."""
        return self._ask("POST", url, urlencode(form))

    def _ask(self, method: str, url: str, body: str | None) -> Answer:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname is None:
            raise Malformed("the identity provider's address must start with https://")
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_S, context=self._context)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path or "/", body=body, headers=headers)
            response = connection.getresponse()
            text = response.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("the identity provider does not answer", detail=type(error).__name__) from None
        finally:
            connection.close()
        return Answer(response.status, _object(text))


def _object(text: bytes) -> dict[str, object]:
    if len(text) > MOST_BYTES:
        raise Malformed("the identity provider's answer is too long")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("the identity provider's answer is not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("the identity provider's answer is not a JSON object")
    return found
