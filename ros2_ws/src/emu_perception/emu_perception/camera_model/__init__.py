"""Camera geometry from camera_info: intrinsics, distortion, metric scale."""
