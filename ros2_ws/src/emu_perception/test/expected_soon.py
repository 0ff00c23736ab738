"""Names that the shipped files use and the node does not have yet; a test fails once it has."""

PARAMETERS = {"autostart", "max_rate", "max_depth_std_ratio", "unknown_above"}
TOPICS = {"points": "PointCloud2", "semantic/label_info": "LabelInfo"}
