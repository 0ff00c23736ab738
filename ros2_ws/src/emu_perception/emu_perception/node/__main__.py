"""Entry point: `ros2 run emu_perception emu_node`, or `python -m emu_perception.node`."""

import sys

from emu_perception.node.main import main

sys.exit(main())
