"""`python tests/bench`."""

from run import start

if __name__ == "__main__":
    start()
