"""One module a command (or a few that belong together); each is imported only when it is called."""
