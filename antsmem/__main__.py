"""`python -m antsmem`."""

from antsmem.cli.main import main

if __name__ == "__main__":
    main()
