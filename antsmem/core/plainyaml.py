"""Read YAML that is only data: mappings, lists, text and whole numbers, each with its line.

Two readers give the same answer. The quick one takes what antsmem itself writes (block style, two spaces a level,
one value a line) and gives up on everything else; then PyYAML is asked, whose import alone costs more than the
whole start of a command. Anchors, aliases, tags, directives and a second document are refused: an untrusted file
gets no way to grow in memory. There is no guessing of types: `no` is text, `1.5` is text, `12` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from antsmem.core.errors import ConfigError

MAX_BYTES: Final = 64 * 1024
_DEEPEST: Final = 6

Value: TypeAlias = "str | int | list[Node] | dict[str, Node] | None"


class Node(NamedTuple):
    """A value and the line it starts on, counted from 1 (in a mapping: the line of its key)."""

    value: Value
    line: int


_LINE: Final = re.compile(
    r'( *)(?:([a-z][a-z0-9_-]*):(?: +(?="|\[|[A-Za-z0-9])|(?= *(?:#|$)))|(-) +)'
    r'(?:"([^"\\]*)"|(\[\])|([A-Za-z0-9](?:[A-Za-z0-9_./:+%-]*[A-Za-z0-9_./+%-])?))?(?: +#.*| *)'
)
_INTEGER: Final = re.compile("0|-?[1-9][0-9]{0,15}")
_NULLS: Final = {"", "~", "null", "Null", "NULL"}


def read_yaml(data: bytes, shown: str) -> Node:
    """The document in `data` as nested nodes; the top is always a mapping (empty for an empty document).

    `shown` names the file in messages. Raises `ConfigError` with file and line for anything that is not plain
    data, for a key that is there twice and for text that is not UTF-8 or larger than 64 KiB.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"`{shown}` is larger than {MAX_BYTES // 1024} KiB: not read", hint="make it smaller")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fault(shown, line, "is not UTF-8") from None
    return _quick(text) or _thorough(text, shown)


def _plain(text: str) -> str | int | None:
    """What a value without quotes means."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return None if text in _NULLS else text


def _quick(text: str) -> Node | None:
    """The document if it is in the simple form, else None."""
    top: dict[str, Node] = {}
    open_blocks: list[dict[str, Node] | list[Node]] = [top]
    waiting: tuple[dict[str, Node], str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip(" ")
        if line and not line.isprintable():
            return None
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        indent, key, dash, quoted, empty, plain = match.groups()
        depth, odd = divmod(len(indent), 2)
        if odd or depth > min(len(open_blocks), _DEEPEST - 1):
            return None
        if depth == len(open_blocks):
            if waiting is None:
                return None
            block: dict[str, Node] | list[Node] = [] if dash else {}
            holder, name = waiting
            holder[name] = Node(block, holder[name].line)
            open_blocks.append(block)
        del open_blocks[depth + 1 :]
        block, waiting = open_blocks[depth], None
        value: Value = quoted if quoted is not None else [] if empty else _plain(plain or "")
        if dash and isinstance(block, list) and (quoted is not None or plain):
            block.append(Node(value, number))
        elif not dash and isinstance(block, dict) and key not in block:
            block[key] = Node(value, number)
            if quoted is None and not empty and not plain:
                waiting = (block, key)
        else:
            return None
    return Node(top, 1)


def _thorough(text: str, shown: str) -> Node:
    """The document as PyYAML's parser sees it, built here from its events."""
    import yaml

    builder = _Builder(shown)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _fault(shown, line, f"is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigError(f"`{shown}` is not YAML", hint=f"edit `{shown}`") from None
    return builder.top


def _fault(shown: str, line: int, what: str, colon: str = "") -> ConfigError:
    """What is wrong in a line of the file `shown`."""
    return ConfigError(f"`{shown}:{line}`{colon} {what}", hint=f"edit `{shown}`, line {line}")


class _Builder:
    """Takes PyYAML's events one by one: no recursion, so no depth can exhaust the stack."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.top = Node({}, 1)
        self.blocks: list[Node] = []
        self.keys: list[tuple[str, int] | None] = []
        self.documents = 0

    def take(self, event: Any) -> None:
        import yaml

        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.refuse(line, "a second document")
            if event.tags or event.version:
                self.refuse(line, "a directive")
        elif isinstance(event, yaml.AliasEvent):
            self.refuse(line, "an alias")
        elif isinstance(event, yaml.CollectionEndEvent):
            self.blocks.pop()
            self.keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            self.node(event, line)

    def node(self, event: Any, line: int) -> None:
        import yaml

        if event.anchor is not None:
            self.refuse(line, "an anchor")
        if event.tag is not None:
            self.refuse(line, "a tag")
        if not isinstance(event, yaml.ScalarEvent):
            if self.blocks and isinstance(self.blocks[-1].value, dict) and self.keys[-1] is None:
                self.refuse(line, "a key that is not text")
            block = Node([] if isinstance(event, yaml.SequenceStartEvent) else {}, line)
            self.put(block, line)
            self.blocks.append(block)
            self.keys.append(None)
            if len(self.blocks) > _DEEPEST:
                self.refuse(line, f"more than {_DEEPEST} levels")
            return
        text = str(event.value)
        if self.blocks and isinstance(self.blocks[-1].value, dict) and self.keys[-1] is None:
            if text in self.blocks[-1].value:
                self.refuse(line, f"`{ascii(text[:64])[1:-1]}` twice")
            self.keys[-1] = (text, line)
            return
        self.put(Node(_plain(text) if event.style is None else text, line), line)

    def put(self, node: Node, line: int) -> None:
        if not self.blocks:
            if node.value is not None and not isinstance(node.value, dict):
                raise _fault(self.shown, line, "is not a list of keys and values")
            self.top = Node({} if node.value is None else node.value, 1)
            return
        block = self.blocks[-1].value
        if isinstance(block, list):
            block.append(node)
        elif isinstance(block, dict) and (key := self.keys[-1]) is not None:
            block[key[0]] = Node(node.value, key[1])
            self.keys[-1] = None

    def refuse(self, line: int, what: str) -> None:
        raise _fault(self.shown, line, f"holds {what}: not allowed in this file")


class Reader:
    """Nodes into values; every complaint names file and line, and for an unknown key the one that was meant."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def mapping(self, node: Node | None, keys: Sequence[str]) -> dict[str, Node]:
        """The entries of `node` (None or empty: none), all of them among `keys`."""
        entries = self.table(node)
        for key, entry in entries.items():
            if key not in keys:
                self.unknown(entry, key, keys)
        return entries

    def table(self, node: Node | None) -> dict[str, Node]:
        """The entries of `node`, whatever their keys."""
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self.fail(node, "expected keys here")
        return node.value

    def items(self, node: Node) -> list[Node]:
        """The items of a list."""
        if not isinstance(node.value, list):
            self.fail(node, "expected a list here")
        return node.value

    def line(self, node: Node, key: str) -> str:
        """A line of printable text."""
        value = str(node.value) if isinstance(node.value, str | int) else ""
        if not value or not value.isprintable():
            self.fail(node, f"`{key}` is not a line of text")
        return value

    def text(self, node: Node, key: str, form: re.Pattern[str], meant: str) -> str:
        """Text of the form given; `meant` says it in words."""
        value = str(node.value) if isinstance(node.value, str | int) else ""
        if not form.fullmatch(value):
            self.fail(node, f"`{key}` is not {meant}")
        return value

    def unknown(self, node: Node, key: str, keys: Sequence[str]) -> NoReturn:
        """Complain about a key that there is not."""
        from difflib import get_close_matches

        near = get_close_matches(key.lower().replace("-", "_"), keys, 1, 0.5) or get_close_matches(
            key, keys, 1, 0.5
        )
        meant = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(f'`{known}`' for known in keys)}"
        self.fail(node, f"unknown key `{ascii(key[:64])[1:-1]}`: {meant}")

    def fail(self, node: Node, what: str) -> NoReturn:
        """Raise `ConfigError` for `node`."""
        raise _fault(self.shown, node.line, what, ":")
