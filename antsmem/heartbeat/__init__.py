"""Layer 3: the heartbeat: HEARTBEAT.md, schedules, the journal of what was done, effects that happen once."""
