"""Layer 2: the agent's files: where they are, what class each path has, adopting them, the daily log."""
