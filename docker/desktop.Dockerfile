# The node on a desktop or an industrial PC: ROS 2, ONNX Runtime with CUDA 12 and cuDNN 9.
#   docker build -f docker/desktop.Dockerfile --build-arg USER_ID=$(id -u) -t emu:desktop .
#   … --build-arg ONNXRUNTIME=onnxruntime==1.23.2     without a GPU: several gigabytes smaller
#   … --target rviz -t emu:rviz                       with RViz
#   … --build-arg ROS_IMAGE=ros:kilted-ros-base-noble  another distribution than Jazzy: docs/docker.md
ARG ROS_IMAGE=ros:jazzy-ros-base-noble

FROM ${ROS_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends "ros-${ROS_DISTRO}-cv-bridge" "ros-${ROS_DISTRO}-vision-msgs" \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
# CUDA is installed from wheels, only the parts that ONNX Runtime needs. NumPy 1 and OpenCV are those
# of ROS.
ARG ONNXRUNTIME=onnxruntime-gpu[cuda,cudnn]==1.23.2
COPY constraints-robot.txt /build/
RUN python3 -m venv --system-site-packages /opt/emu/venv \
    && /opt/emu/venv/bin/pip install --no-cache-dir --constraint /build/constraints-robot.txt \
        "${ONNXRUNTIME}" rosbags \
    && ln -s /opt/emu/venv/lib/python3*/site-packages/nvidia /opt/emu/cuda
WORKDIR /build
COPY emu_core src/emu_core
COPY ros2_ws/src/emu_perception src/emu_perception
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && colcon build --merge-install --install-base /opt/emu/install

FROM base AS node
# The user of the host. Other users cannot read the shared memory, so no data would arrive.
ARG USER_ID=1000
ARG GROUP_ID=1000
RUN if id --user ubuntu; then userdel --remove ubuntu; fi \
    && groupadd --non-unique --gid "${GROUP_ID}" emu \
    && useradd --no-log-init --non-unique --create-home --uid "${USER_ID}" --gid "${GROUP_ID}" emu
COPY --from=build /opt/emu /opt/emu
COPY docker/entrypoint.sh docker/healthcheck.py /opt/emu/
# The libraries of the wheels. The dynamic linker does not search a virtual environment.
ARG CUDA=/opt/emu/cuda
ENV PATH=/opt/emu/venv/bin:${PATH} \
    LD_LIBRARY_PATH=${CUDA}/cublas/lib:${CUDA}/cuda_nvrtc/lib:${CUDA}/cuda_runtime/lib:${CUDA}/cudnn/lib:${CUDA}/cufft/lib:${CUDA}/curand/lib:${CUDA}/nvjitlink/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    EMU_NODE=/emu_perception
USER ${USER_ID}
WORKDIR /home/emu
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s \
    CMD ["/opt/emu/entrypoint.sh", "python3", "/opt/emu/healthcheck.py"]
ENTRYPOINT ["/opt/emu/entrypoint.sh"]
CMD ["ros2", "launch", "emu_perception", "emu.launch.py"]

FROM node AS rviz
USER 0
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        "ros-${ROS_DISTRO}-rviz2" "ros-${ROS_DISTRO}-compressed-image-transport" \
    && rm -rf /var/lib/apt/lists/*
ARG USER_ID=1000
USER ${USER_ID}
HEALTHCHECK NONE
CMD ["rviz2", "-d", "/opt/emu/install/share/emu_perception/rviz/emu.rviz"]

# The default target of `docker build`.
FROM node
