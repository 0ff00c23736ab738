"""elevation_map_msgs/ChannelInfo: the names of the channels of ~/semantic/probabilities.

The package comes with elevation_mapping_cupy. Without it, the topic is not published.
"""

from __future__ import annotations

from typing import Any

from std_msgs.msg import Header

try:
    from elevation_map_msgs.msg import ChannelInfo

    MISSING = ""
except ImportError:
    MISSING = "elevation_map_msgs is not installed"

    class ChannelInfo:  # type: ignore[no-redef]
        """Stands for the message, for documentation."""


def message(names: list[str], header: Header) -> Any:
    """Name the channels of one image."""
    return ChannelInfo(header=header, channels=names)
