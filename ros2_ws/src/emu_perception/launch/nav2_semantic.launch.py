"""Start the perception node, a Nav2 costmap with the semantic layer, and a lifecycle manager.

    ros2 launch emu_perception nav2_semantic.launch.py image:=/camera/image_raw
    ros2 launch emu_perception nav2_semantic.launch.py costmap_params:=/path/to/my_costmap.yaml

It takes the arguments of emu.launch.py as well. It needs nav2_costmap_2d, nav2_lifecycle_manager,
semantic_segmentation_layer, and TF from the camera's optical frame to the frame of the costmap. On
a robot with Nav2, start emu.launch.py with autostart:=false instead: see docs/nav2.md.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.launch import require

NEEDED = ("nav2_costmap_2d", "nav2_lifecycle_manager", "semantic_segmentation_layer")


def _check(context):
    require(NEEDED, "the costmap")
    if context.launch_configurations.get("autostart", "").lower() == "true":
        raise UserError(
            "autostart:=true is not possible here, because the lifecycle manager of the costmap "
            "starts the node: leave it out, or use emu.launch.py"
        )


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and actions for `ros2 launch`."""
    shared = {"parameters": [LaunchConfiguration("costmap_params")], "output": "screen"}
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("emu.launch.py"))),
        # The manager configures the node; a second configure would be refused.
        launch_arguments={"autostart": "false"}.items(),
    )
    costmap = Node(package="nav2_costmap_2d", executable="nav2_costmap_2d", **shared)
    manager = Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_semantic",
        **shared,
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "costmap_params",
                default_value=str(dds.config_folder() / "nav2_semantic_costmap.yaml"),
                description="parameter file of the costmap and of the lifecycle manager",
            ),
            OpaqueFunction(function=_check),
            perception,
            costmap,
            manager,
        ]
    )
