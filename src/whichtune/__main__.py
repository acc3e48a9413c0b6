"""`python -m whichtune` is the `whichtune` command."""

from whichtune.cli import main

if __name__ == "__main__":
    main()
