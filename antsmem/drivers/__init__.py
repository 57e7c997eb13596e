"""One file per outside system; drivers do not know each other."""
