"""The program, also as `python -m antsmem`: while it loads nothing has begun, and Ctrl-C just ends it."""

import signal


def main() -> None:
    """Load what is needed, and go."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from antsmem.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
