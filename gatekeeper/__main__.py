"""`python -m gatekeeper`: the command line, where the command `gatekeeper` is not on PATH."""

from gatekeeper.cli import main

if __name__ == "__main__":
    main()
