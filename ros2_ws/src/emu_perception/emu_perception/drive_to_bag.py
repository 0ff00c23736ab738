"""Entry point of the program `drive_to_bag`."""

import sys

from emu_perception.bag_tools.drive_to_bag import main

if __name__ == "__main__":
    sys.exit(main())
