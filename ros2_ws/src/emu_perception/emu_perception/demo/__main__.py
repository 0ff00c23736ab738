"""Run the demo: `python -m emu_perception.demo`."""

import sys

from emu_perception.demo.main import main

sys.exit(main())
