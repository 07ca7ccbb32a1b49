"""HTML pages and scripts from the jinja templates of the gallery and of its sections.

Every value is escaped for where it stands. A page holds no inline script and no inline style, so
that its content security policy can forbid both.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent
_STATIC, _SECTIONS = _HERE / "static", _HERE / "sections"


def html(template: str, **values: object) -> str:
    """A page or a script.

    Args:
        template: a file of ``templates``, or ``folder/file`` of a section.
        values: what it prints.
    """
    return _environment().get_template(template).render(values)


def fragment(template: str, macro: str, *values: object) -> str:
    """A piece of a page: what a macro of a template gives, safe to print in another template.

    Args:
        template: as in `html`.
        macro: its name.
        values: its arguments.
    """
    made: str = getattr(_environment().get_template(template).module, macro)(*values)
    return made


def static_files() -> dict[str, bytes]:
    """What pages refer to, by name below ``static/`` of the gallery: no two files share one."""
    own = [path for kind in ("css", "js") for path in _SECTIONS.glob(f"*/*.{kind}")]
    return {path.name: path.read_bytes() for path in (*_STATIC.iterdir(), *own)}


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader([_HERE / "templates", _SECTIONS]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment
