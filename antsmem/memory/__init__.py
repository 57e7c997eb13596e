"""The shared memory: signed and sealed events, one agent on many devices, and the roles a backend plays in it."""
