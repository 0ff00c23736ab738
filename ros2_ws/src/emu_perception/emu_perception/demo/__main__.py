"""Entry point: `ros2 run emu_perception demo`, or `python -m emu_perception.demo`."""

import sys

from emu_perception.demo.main import main

sys.exit(main())
