"""``python -m netproxy`` is the same program as ``netproxy``."""

from netproxy.cli import main

if __name__ == "__main__":
    main()
