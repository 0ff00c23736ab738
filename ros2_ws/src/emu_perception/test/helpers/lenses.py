"""CameraInfo messages for tests of the camera model."""

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def stereo_camera(**fields) -> CameraInfo:
    """A 640x480 camera: fx 500, fy 520, cx 319.5, cy 239.5, 0.1 m right of a stereo partner."""
    message = CameraInfo(
        header=Header(frame_id="front"),
        width=640,
        height=480,
        distortion_model="plumb_bob",
        d=[0.1, -0.2, 0.001, 0.002, 0.0],
        k=[500.0, 0.0, 319.5, 0.0, 520.0, 239.5, 0.0, 0.0, 1.0],
        r=np.eye(3).ravel(),
        p=[500.0, 0.0, 319.5, -50.0, 0.0, 520.0, 239.5, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    for name, value in fields.items():
        setattr(message, name, value)
    return message
