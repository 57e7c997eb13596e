"""Layer 2: tiered, encrypted, open backups: repository, snapshots, restore, check, prune."""
