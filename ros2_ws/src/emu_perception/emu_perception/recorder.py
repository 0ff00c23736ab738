"""Entry point: `ros2 run emu_perception recorder`, or `python -m emu_perception.recorder`."""

import sys

from emu_perception.bag_tools.recorder import main

if __name__ == "__main__":
    sys.exit(main())
