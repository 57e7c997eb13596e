"""Every role without a server: files and SQLite below one directory, which devices may share or mirror."""
