"""``python -m tutelage``, and what the command ``tutelage`` calls."""

import sys


def entry() -> None:
    """Run the command line and leave with its exit status."""
    try:
        from .cli import main  # slow to import, and Ctrl-C may come while it is

        status = main()
    except KeyboardInterrupt:
        print("error: stopped", file=sys.stderr)
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    entry()
