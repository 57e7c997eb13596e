"""A directory in memory for each test."""

from __future__ import annotations

from memory import quick_root, tmp_path

__all__ = ["quick_root", "tmp_path"]
