# The node on a Jetson with JetPack 6 (L4T r36.4): ROS 2 Humble, ONNX Runtime with CUDA. Build it
# on the Jetson:
#   sudo docker build -f docker/jetson.Dockerfile --build-arg USER_ID=$(id -u) -t emu:jetson .
# Both images are from jetson-containers and for the same L4T release, because PyPI has no GPU wheel of
# ONNX Runtime for aarch64. The ROS image contains CUDA, cuDNN, TensorRT, OpenCV, cv_bridge and
# vision_msgs. So apt is not needed; its key for ROS packages has expired in this image.
ARG ROS_IMAGE=dustynv/ros:humble-ros-base-l4t-r36.4.0
ARG ONNXRUNTIME_IMAGE=dustynv/onnxruntime:1.20-r36.4.0

FROM ${ONNXRUNTIME_IMAGE} AS onnxruntime

FROM ${ROS_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY constraints-robot.txt /build/
# --isolated, because the image configures a package index that no longer exists.
RUN pip3 install --isolated --no-cache-dir --constraint /build/constraints-robot.txt rosbags
COPY --from=onnxruntime /usr/local/lib/python3.10/dist-packages/onnxruntime \
    /usr/local/lib/python3.10/dist-packages/onnxruntime
RUN python3 -c "import onnxruntime as o; assert 'CUDAExecutionProvider' in o.get_available_providers()"

FROM base AS build
WORKDIR /build
COPY emu_core src/emu_core
COPY ros2_ws/src/emu_perception src/emu_perception
RUN . "/opt/ros/${ROS_DISTRO}/install/setup.bash" \
    && colcon build --merge-install --install-base /opt/emu/install

FROM base AS node
# The user of the host. Other users cannot read the shared memory, so no data would arrive. The group
# video may use the GPU.
ARG USER_ID=1000
ARG GROUP_ID=1000
RUN groupadd --non-unique --gid "${GROUP_ID}" emu \
    && useradd --no-log-init --non-unique --create-home --uid "${USER_ID}" --gid "${GROUP_ID}" \
        --groups video emu
COPY --from=build /opt/emu /opt/emu
COPY docker/entrypoint.sh docker/healthcheck.py /opt/emu/
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all \
    EMU_NODE=/emu_perception
USER ${USER_ID}
WORKDIR /home/emu
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s \
    CMD ["/opt/emu/entrypoint.sh", "python3", "/opt/emu/healthcheck.py"]
ENTRYPOINT ["/opt/emu/entrypoint.sh"]
CMD ["ros2", "launch", "emu_perception", "emu.launch.py", \
    "params_file:=/opt/emu/install/share/emu_perception/config/jetson.yaml"]
