"""Entry point: `ros2 run emu_perception player`, or `python -m emu_perception.player`."""

import sys

from emu_perception.bag_tools.player import main

if __name__ == "__main__":
    sys.exit(main())
