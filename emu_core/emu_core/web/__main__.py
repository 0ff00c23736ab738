"""Entry point: `python -m emu_core.web`."""

import sys

from emu_core.web.command import main

sys.exit(main())
