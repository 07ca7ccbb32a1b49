"""Tells a URL that carries a secret, which would end up in tables, manifests and pages."""

from __future__ import annotations

import re
from typing import Final

SENSITIVE_NAME: Final = (
    r"[\w.\-]*(?:secret|token|passw|credential|signature|webhook|bearer"
    r"|api[_\-]?key|access[_\-]?key|private[_\-]?key|auth(?!or))[\w.\-]*|\bsig"
)
"""Names of values that are secrets; a regular expression for any case."""

USER_INFO: Final = r"(?<=://)(?:[^/@\s]+|[^/@\s:]*:(?!\d*(?:[/?#]|$))[^@\s]*)@"
"""User and password of a URL, the '@' included. A key of AWS may hold slashes; a port may not."""

WAY_OUT: Final = (
    "give them to fsspec by its environment variables or configuration, or fetch the file first"
)

# "::" chains file systems: simplecache::s3://...
_BEFORE_THE_AT = re.compile(rf"(?:^|::)[a-z0-9+.-]+://(?:@|{USER_INFO})", re.IGNORECASE)
_IN_THE_QUERY = re.compile(rf"://[^\s?#]*[?#](?:\S*[?&#;])?(?:{SENSITIVE_NAME})=", re.IGNORECASE)


def holds_credentials(url: str) -> str | None:
    """Where a URL holds a secret.

    Returns:
        A clause for a message, "holds credentials ..."; None for a path, and for a URL without.
    """
    if _BEFORE_THE_AT.search(url):
        return "holds credentials before the '@'"
    if _IN_THE_QUERY.search(url):
        return "holds credentials in its query"
    return None
