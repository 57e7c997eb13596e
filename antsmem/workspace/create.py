"""Lay down the files of a new agent from a template: what is missing only, nothing is ever overwritten."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import antsmem
from antsmem.core.disk import disk_error, make_private_dir, read_file, write_file
from antsmem.core.errors import NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record

TEMPLATES: Final = ("default", "openclaw", "minimal")

_PLACEHOLDERS: Final = ("name", "time_zone")


@record
class CreateResult:
    """Names in the workspace: `created` was missing and is there now, `kept` was there already."""

    created: tuple[str, ...]
    kept: tuple[str, ...]


def templates_dir() -> Path:
    """Where the templates are: inside an installed package, beside the package in a source tree."""
    package = Path(antsmem.__file__).parent
    for place in (package / "templates", package.parent / "templates"):
        if (place / TEMPLATES[0] / "SOUL.md").is_file():
            return place
    raise NotFoundError("the templates are not installed", hint="install antsmem again")


def is_template(name: str, data: bytes) -> bool:
    """Whether `data` is what a template lays down as `name`, whatever stands for its placeholders."""
    holes = "|".join(re.escape(f"{{{{{key}}}}}") for key in _PLACEHOLDERS)
    for template in TEMPLATES:
        try:
            text = read_file(templates_dir() / template / name).decode()
        except NotFoundError:
            continue
        pattern = "[^\n]*".join(map(re.escape, re.split(holes, text)))
        if re.fullmatch(pattern, data.decode("utf-8", "replace")):
            return True
    return False


def create_files(root: Path, template: str, values: dict[str, str]) -> CreateResult:
    """Copy the files of `template` that are missing in `root`, which is made if needed.

    `values` fills the placeholders `{{name}}` and `{{time_zone}}`. A file counts as there under any mix of upper
    and lower case, and whatever it is (a dangling link too). Raises `UsageError` for an unknown template.
    """
    if template not in TEMPLATES:
        known = ", ".join(f"`{name}`" for name in TEMPLATES)
        raise UsageError(f"no template `{template}`", hint=f"there are {known}")
    source = templates_dir() / template
    make_private_dir(root)
    try:
        there = {name.lower() for name in os.listdir(root)}
    except OSError as error:
        raise disk_error("list", root, error) from error
    created, kept = [], []
    for name in sorted(name for name in os.listdir(source) if name.endswith(".md")):
        if name.lower() in there:
            kept.append(name)
            continue
        text = read_file(source / name).decode()
        for key in _PLACEHOLDERS:
            text = text.replace(f"{{{{{key}}}}}", values.get(key, ""))
        try:
            write_file(root / name, [text.encode()], new=True)
        except WouldOverwriteError:
            kept.append(name)  # made by somebody else just now
        else:
            created.append(name)
    return CreateResult(tuple(created), tuple(kept))
