"""Ground floor: errors, disk, clock, configuration, age codec, canonical JSON; no terminal, no network."""
