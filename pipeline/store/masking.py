"""Takes secrets out of text that will be stored or shown.

Invariant: what `mask` returns can stand in a manifest, a log or a page, whatever was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from schemas.secrets import SENSITIVE_NAME, USER_INFO

MASK = "***"

_USER_INFO = re.compile(USER_INFO)
_ASSIGNED = re.compile(rf"(?i)((?:{SENSITIVE_NAME})[\"']?\s*[=:]\s*)[^&\s]+")
_SENSITIVE_FLAG = re.compile(rf"(?i)--?(?:{SENSITIVE_NAME})")
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bhf_\w{20,}")


def mask(text: str) -> str:
    """``text`` without user names and passwords in URLs, values of secrets, and known key forms."""
    text = _USER_INFO.sub(f"{MASK}@", text)
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
