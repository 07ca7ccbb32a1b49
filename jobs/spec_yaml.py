"""YAML that remembers where each value stood.

Every value that comes out has an origin (file and line), and nothing that YAML would
silently settle by itself (a key given twice, a second document) comes through.
"""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import yaml

from schemas.errors import SpecError

Path = tuple[str | int, ...]
"""Where a value stands: keys and list places from the top, ``("model", "arch")``."""


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: ``out: 2026-11-24`` is the name of a folder."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (the base class keeps its resolvers so)
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def dotted(path: Path) -> str:
    """A path as a person writes it: ``model.arch``, ``preprocess.mean[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_mapping(file: str) -> tuple[dict[str, Any], dict[Path, str]]:
    """Read a YAML file that holds one mapping.

    Args:
        file: a local path.

    Returns:
        The values, and the origin of each: path -> ``"line 3 of scan.yaml"``. An empty file is an
        empty mapping.

    Raises:
        SpecError: the file cannot be read, is not YAML, gives a key twice, or is not a mapping.
    """
    try:
        text = FilePath(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: is not UTF-8 text ({error.reason}); give a YAML file") from error
    except OSError as error:
        raise SpecError(
            f"{file}: cannot be read ({error.strerror}); give --spec the path of a YAML file"
        ) from error
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise SpecError(
                f"{file}: holds a {_kind(node)} where a mapping of fields is needed "
                f"(line {node.start_mark.line + 1}); write 'field: value' lines"
            )
        origins: dict[Path, str] = {}
        _walk(node, (), file, origins, ())
        return loader.construct_document(node), origins
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{file}: {_complaint(error)}") from error


def parse_value(text: str, where: str) -> Any:
    """One value in YAML, as after ``--set field=``.

    Raises:
        SpecError: the text is not one YAML value; the message begins with ``where``.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{where}: {_complaint(error)}; put the value in quotes") from error


def _walk(
    node: yaml.Node, path: Path, file: str, origins: dict[Path, str], above: tuple[yaml.Node, ...]
) -> None:
    if node in above:
        raise SpecError(
            f"{dotted(path)}: contains itself by an alias (line {node.start_mark.line + 1} of "
            f"{file}); write the value out"
        )
    origins.setdefault(path, f"line {node.start_mark.line + 1} of {file}")
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _walk(item, (*path, place), file, origins, (*above, node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                raise SpecError(
                    f"{dotted(path) or 'the spec'}: the {_kind(key)} "
                    f"{getattr(key, 'value', '')!r} is no field name (line {line} of {file}); "
                    "field names are plain words, in quotes where YAML reads them otherwise"
                )
            here = (*path, key.value)
            if key.value in lines:
                raise SpecError(
                    f"{dotted(here)}: given twice, on lines {lines[key.value]} and {line} of "
                    f"{file}; keep one"
                )
            lines[key.value] = line
            origins[here] = f"line {line} of {file}"
            _walk(value, here, file, origins, (*above, node))


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "list"
    return "mapping" if isinstance(node, yaml.MappingNode) else "single value"


def _complaint(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"not YAML: {place}{', '.join(filter(None, (error.context, error.problem)))}"
    return f"not YAML: {' '.join(str(error).split())}"
