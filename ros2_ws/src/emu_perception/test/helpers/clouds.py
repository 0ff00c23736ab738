"""PointCloud2 messages as arrays, read only by the layout that the message describes."""

import numpy as np
from sensor_msgs.msg import PointCloud2

_TYPES = {6: "<u4", 7: "<f4"}  # UINT32 and FLOAT32 of sensor_msgs/PointField


def cloud_array(cloud: PointCloud2) -> np.ndarray:
    """The points as a structured array (height, width) with the message's field names."""
    assert not cloud.is_bigendian and all(field.count == 1 for field in cloud.fields)
    assert len(cloud.data) == cloud.height * cloud.row_step
    layout = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [_TYPES[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    assert cloud.row_step == cloud.width * layout.itemsize
    return np.frombuffer(cloud.data, layout).reshape(cloud.height, cloud.width)


def positions(cloud: PointCloud2) -> np.ndarray:
    """x, y and z, float64 (height, width, 3)."""
    points = cloud_array(cloud)
    return np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float64)
