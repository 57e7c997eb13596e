"""`antsmem waive`: record that a secret may stay where it stands."""

from __future__ import annotations
