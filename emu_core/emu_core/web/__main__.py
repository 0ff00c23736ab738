"""Entry point: `python -m emu_core.web`."""

import sys

from emu_core.web.command import main

if __name__ == "__main__":
    sys.exit(main())
