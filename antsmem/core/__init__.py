"""Ground floor: errors, disk, clock, configuration, age codec, canonical JSON. No terminal, no network."""
