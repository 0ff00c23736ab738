# The commands of this project. Python environments are created in .venvs/, results are written to
# out/. PYTHON=python3.12 make demo   chooses the Python interpreter of the environments.

ROS_TESTS := ros2_ws/src/emu_perception/test

# These tests depend on the versions of NumPy, OpenCV, ONNX Runtime or cv_bridge. They run a second
# time, with the older versions that robots have.
ROBOT_TESTS := tests/bags tests/predict tests/runtime tests/test_house.py $(addprefix $(ROS_TESTS)/, \
	messages camera_model demo node/test_node.py node/test_camera.py \
	bag_tools/test_drive_to_bag.py bag_tools/test_recorded_outputs.py \
	record_uncertain/test_trigger.py package/test_build_engine.py)

# These tests try more cases or run longer if EMU_LONG_TESTS is set.
LONG_TESTS := tests/bags/test_fuzz_files.py tests/bench/test_bench_gpu.py tests/commands/test_own_data.py \
	tests/packaging/test_privacy.py $(addprefix $(ROS_TESTS)/, \
	messages/test_fuzz_messages.py node/test_robustness.py bag_tools/test_soak.py)

# These tests depend on rclpy, on its messages or on the middleware. They run another time, on Kilted.
KILTED_TESTS := $(filter-out $(LONG_TESTS), $(wildcard $(addprefix $(ROS_TESTS)/, \
	$(addsuffix /test_*.py, messages camera_model node ros demo bag_tools record_uncertain) \
	package/test_healthcheck.py)))

# The bag of `make demo`; it may lack ground truth and camera_info. BAG=path/to/bag make demo
BAG ?= demo/drive

# Two processes; all tests of one file in the same process. Each process of ROS tests has its own
# ROS domain. The 20 slowest tests are named at the end.
PYTEST := -m pytest -q -n 2 --dist loadfile --durations=20 --durations-min=2

.PHONY: help demo test lint format test-all test-robot test-annotation test-web test-kilted test-long test-gpu docs bench clean

help:
	@echo "make demo        replay a drive through the real node, with or without ROS 2: out/demo/"
	@echo "make demo BAG=path   the same with another bag: maps and video, and metrics if it has ground truth"
	@echo "make test        lint, then run all tests: with recent packages and with older ones"
	@echo "make test-annotation   run the tests of the exchange with annotation tools"
	@echo "make test-web    run the tests of predict and of its page, in a headless browser"
	@echo "make test-kilted   run the tests that depend on ROS 2, on ROS 2 Kilted"
	@echo "make test-long   run the fuzz, endurance and training tests for 40 minutes, before a release"
	@echo "make lint        only ruff and mypy"
	@echo "make format      correct the format of the code with ruff"
	@echo "make docs        build the documentation as a web site: out/site/index.html"
	@echo "make bench       measure the speed of this project and of alternatives: out/bench/"
	@echo "make test-gpu    check and measure everything on an NVIDIA GPU, within ten minutes: out/gpu/"
	@echo "make clean       delete results and environments (but not data/ and runs/)"

demo:
	@python=$$(tools/environment.sh demo) && tools/on_ros.sh $$python -m emu_perception.demo \
		--bag "$(BAG)" --output out/demo

test: lint test-all test-robot

lint:
	@python=$$(tools/environment.sh test) && $$python -m ruff check . \
		&& $$python -m ruff format --check . && $$python -m mypy

format:
	@python=$$(tools/environment.sh test) && $$python -m ruff check --fix . \
		&& $$python -m ruff format .

test-all:
	@python=$$(tools/environment.sh test) && tools/on_ros.sh $$python $(PYTEST) tests \
		&& tools/on_ros.sh $$python $(PYTEST) $(ROS_TESTS)

test-robot:
	@python=$$(tools/environment.sh robot) && tools/on_ros.sh $$python $(PYTEST) $(ROBOT_TESTS)

# datumaro needs older versions of OpenCV and pandas than the environment of the other tests.
test-annotation:
	@python=$$(tools/environment.sh annotation) && $$python -m pytest -q tests/annotations

# The browser is Chromium of the system; without it, its test is skipped.
test-web:
	@python=$$(tools/environment.sh web) && $$python -m pytest -q tests/predict tests/web

test-kilted:
	@python=$$(tools/environment.sh kilted) && tools/on_ros.sh $$python $(PYTEST) $(KILTED_TESTS)

test-long:
	@python=$$(tools/environment.sh test) && EMU_LONG_TESTS=1 tools/on_ros.sh $$python -m pytest -q $(LONG_TESTS)

docs:
	@python=$$(tools/environment.sh test) && $$python -m mkdocs build --strict --site-dir out/site

# make bench BENCH="--parts inference --threads 1"   passes options; BENCH=--help prints them.
bench:
	@python=$$(tools/environment.sh test) && tools/on_ros.sh $$python -m emu_core.bench $(BENCH)

# make test-gpu GPU="--parts engines"   passes options; GPU=--help prints them.
test-gpu:
	@python=$$(tools/environment.sh gpu) && $$python -m emu_core.bench.gpu $(GPU)

clean:
	rm -rf out build install log .venvs
