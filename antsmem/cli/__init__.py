"""The terminal door: parse, call one verb, show its result, and exit, which nothing else does."""
