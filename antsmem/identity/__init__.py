"""Layer 1: keys, identity log, keystore, recovery, and the scanner that keeps secrets out of backups."""
