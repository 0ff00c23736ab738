"""Entry point of the program `record_uncertain`."""

import sys

from emu_perception.record_uncertain.main import main

sys.exit(main())
