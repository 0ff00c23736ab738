"""Entry point: `python -m emu_core.predict SOURCE`."""

import sys

from emu_core.predict.command import main

sys.exit(main())
