"""Frozen, slotted records, declared like dataclasses and made at a tenth of the cost: start-up is a feature.

`dataclasses` imports `inspect` and compiles up to six methods for each class, a quarter of what a short command
takes. Here all records share their methods; type checkers read them as dataclasses (PEP 681).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, dataclass_transform

_T = TypeVar("_T")
_NONE: Final = object()


class Member:
    """How one member of a record begins, and whether it may be shown."""

    __slots__ = ("default", "factory", "given", "shown")

    def __init__(self, default: Any, factory: Callable[[], Any] | None, given: bool, shown: bool) -> None:
        self.default = default
        self.factory = factory
        self.given = given
        self.shown = shown


def field(
    *,
    default: Any = _NONE,
    default_factory: Any = None,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - the names that type checkers know
) -> Any:
    """A member with a `default` or a `default_factory`; without `init` the record sets it in `__post_init__`,
    without `repr` it is never shown."""
    return Member(default, default_factory, init, repr)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """Make a class with annotated members a record that cannot be changed: `__init__`, `__repr__`, `__eq__` and
    `__hash__`, where the class has none of its own. No inheritance."""
    return _made(cls, {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse})


@dataclass_transform(field_specifiers=(field,))
def mutable_record(cls: type[_T]) -> type[_T]:
    """As `record`, but its members can be assigned: for what is counted or collected on the way."""
    return _made(cls, {"__hash__": None})


def replace(made: _T, /, **changes: Any) -> _T:
    """A copy of the record `made` with some members changed."""
    names = type(made).__match_args__  # type: ignore[attr-defined]
    return type(made)(**{name: getattr(made, name) for name in names} | changes)


def members(kind: type) -> tuple[str, ...]:
    """The names of the members of the records of `kind`, as declared; none if they are no records."""
    return tuple(getattr(kind, "__members__", ()))


def shown(made: object) -> dict[str, Any]:
    """The members of the record `made` that may be shown; nothing if it is no record."""
    declared: dict[str, Member] = getattr(type(made), "__members__", {})
    return {name: getattr(made, name) for name, each in declared.items() if each.shown}


def _made(cls: type[_T], methods: dict[str, Any]) -> type[_T]:
    """`cls` again, with slots. Slots cannot be added to a class that exists."""
    space = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__"}}
    declared = {}
    for name in space.get("__annotations__", ()):
        default = space.pop(name, _NONE)
        declared[name] = default if isinstance(default, Member) else Member(default, None, True, True)
    whole = all(each.given for each in declared.values()) and "__post_init__" not in space
    methods = {"__init__": _init_whole if whole else _init, "__repr__": _repr, "__eq__": _eq, **methods} | space
    if space.get("__hash__", _NONE) is None and "__eq__" in space:  # Python's own reaction to `__eq__`
        del methods["__hash__"]
    methods |= {
        "__slots__": tuple(declared),
        "__members__": declared,
        "__match_args__": tuple(name for name, each in declared.items() if each.given),
    }
    kind: Any = type(cls)
    remade: type[_T] = kind(cls.__name__, cls.__bases__, methods)
    remade.__qualname__ = cls.__qualname__
    remade.__setters__ = tuple([getattr(remade, name).__set__ for name in declared])  # type: ignore[attr-defined]
    return remade


def _init_whole(self: Any, *values: Any, **named: Any) -> None:
    """`_init` where all members are given and nothing follows: in half the time if they are given in order."""
    setters = self.__setters__
    if named or len(values) != len(setters):
        _init(self, *values, **named)
        return
    for put, value in zip(setters, values):  # noqa: B905 - as many, and this is called very often
        put(self, value)


def _init(self: Any, *values: Any, **named: Any) -> None:
    cls = type(self)
    put, names, declared = object.__setattr__, cls.__match_args__, cls.__members__
    if len(values) > len(names):
        raise TypeError(f"{cls.__name__} takes {len(names)} members, not {len(values)}")
    for name, value in zip(names, values):  # noqa: B905 - fewer values than names
        put(self, name, value)
    if len(values) < len(declared):
        positional = names[: len(values)]
        for name, each in declared.items():
            if name in positional:
                continue
            if name in named and each.given:
                put(self, name, named.pop(name))
            elif each.default is not _NONE:
                put(self, name, each.default)
            elif each.factory is not None:
                put(self, name, each.factory())
            elif each.given:
                raise TypeError(f"{cls.__name__} needs `{name}`")
    if named:
        raise TypeError(f"{cls.__name__} takes no `{next(iter(named))}` here")
    if hasattr(cls, "__post_init__"):
        self.__post_init__()


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__members__])


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    told = (f"{name}={value!r}" for name, value in shown(self).items())
    return f"{type(self).__qualname__}({', '.join(told)})"


def _refuse(self: Any, name: str, *_value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: `{name}` stays as it is")
