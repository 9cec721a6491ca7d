"""`textback`, also as `python -m textback`."""

from textback.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
