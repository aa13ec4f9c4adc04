"""``python -m tinyclap``: the command line, where its program is not on PATH."""

import sys

from tinyclap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
