"""The terminal door: parse, call one verb, show its result. The only place that exits."""
