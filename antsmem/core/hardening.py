"""A process that holds keys leaves no core dump, and no other process of the same user may look into it.

Memory is not wiped: Python copies and moves what it holds, and nothing here promises otherwise.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

_PR_SET_DUMPABLE: Final = 4  # linux/prctl.h


def harden() -> None:
    """No core dumps, of this process and of those it starts; on Linux also no `ptrace` and no `/proc/PID/mem` for
    other processes of this user, until this one becomes another program. Can be called again."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        prctl(_PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> None:
    """prctl(2). Of `ctypes` only what it is made of: importing all of it takes 3 ms, longer than unlocking."""
    made_of: Any = import_module("_ctypes")
    integer = type("integer", (made_of._SimpleCData,), {"_type_": "i"})
    about = {"_flags_": made_of.FUNCFLAG_CDECL, "_restype_": integer}
    function = type("function", (made_of.CFuncPtr,), about)
    function(made_of.dlsym(made_of.dlopen(None, 0), "prctl"))(option, value, 0, 0, 0)
