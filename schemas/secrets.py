"""Secrets in text: which URLs carry one, and how a text is masked before it is stored or shown.

What `mask` returns can stand in a manifest, a log or a page, whatever was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SENSITIVE_NAME: Final = (
    r"[\w.\-]*(?:secret|token|passw|credential|signature|webhook|bearer"
    r"|api[_\-]?key|access[_\-]?key|private[_\-]?key|auth(?!or))[\w.\-]*|\bsig"
)
"""Names of values that are secrets; a regular expression for any case."""

_USER_INFO: Final = r"(?<=://)(?:[^/@\s]+|[^/@\s:]*:(?!\d*(?:[/?#]|$))[^@\s]*)@"
"""User and password of a URL, the '@' included. A key of AWS may hold slashes; a port may not."""

WAY_OUT: Final = (
    "give them to fsspec by its environment variables or configuration, or fetch the file first"
)

MASK: Final = "***"

# "::" chains file systems: simplecache::s3://...
_BEFORE_THE_AT = re.compile(rf"(?:^|::)[a-z0-9+.-]+://(?:@|{_USER_INFO})", re.IGNORECASE)
_IN_THE_QUERY = re.compile(rf"://[^\s?#]*[?#](?:\S*[?&#;])?(?:{_SENSITIVE_NAME})=", re.IGNORECASE)
_USER_PART = re.compile(_USER_INFO)
_ASSIGNED = re.compile(rf"(?i)((?:{_SENSITIVE_NAME})[\"']?\s*[=:]\s*)[^&\s]+")
_SENSITIVE_FLAG = re.compile(rf"(?i)--?(?:{_SENSITIVE_NAME})")
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bhf_\w{20,}")


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


def mask(text: str) -> str:
    """``text`` without user names and passwords in URLs, values of secrets, and known key forms."""
    text = _USER_PART.sub(f"{MASK}@", text)
    text = _ASSIGNED.sub(rf"\g<1>{MASK}", text)
    return _ACCESS_KEY.sub(MASK, text)


def mask_arguments(arguments: Iterable[str]) -> tuple[str, ...]:
    """A command line, each word masked, and the word after a flag such as ``--token`` as well."""
    shown: list[str] = []
    after_flag = False
    for word in arguments:
        is_flag = word.startswith("-")
        shown.append(MASK if after_flag and not is_flag else mask(word))
        after_flag = _SENSITIVE_FLAG.fullmatch(word) is not None
    return tuple(shown)
