"""Entry point: `python -m emu_core.predict SOURCE`."""

import sys

from emu_core.predict.command import main

if __name__ == "__main__":
    sys.exit(main())
