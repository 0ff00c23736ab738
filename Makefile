# What a newcomer types. Environments live in .venvs/, one for each purpose; results in out/.
# PYTHON=python3.12 make demo   chooses the interpreter they are made from.

# Exclusions: tests of torch, lightning or mujoco, which the robot environment does not have.
ROBOT_TESTS := ros2_ws/src/emu_perception/test tests/bags tests/runtime tests/test_house.py

# Those of them that try more, or longer, when they are told to.
LONG_TESTS := tests/bags/test_fuzz_files.py $(addprefix ros2_ws/src/emu_perception/test/, \
	messages/test_fuzz_messages.py node/test_robustness.py bag_tools/test_soak.py)

.PHONY: help demo test lint test-all test-robot test-long bench clean

help:
	@echo "make demo        replay a drive through the real node, no ROS needed: out/demo/report.html"
	@echo "make test        lint and test everything, on a recent and on a robot's older stack"
	@echo "make test-long   fuzz, flood and soak for half an hour: before a release"
	@echo "make lint        ruff and mypy alone"
	@echo "make bench       time it all beside what one would run instead: out/bench/bench.json, bench.md"
	@echo "make clean       remove results and environments (data/ and runs/ stay)"

demo:
	@python=$$(tools/environment.sh demo) && tools/on_ros.sh $$python -m emu_perception.demo.main \
		--bag demo/drive --output out/demo

test: lint test-all test-robot

lint:
	@python=$$(tools/environment.sh test) && $$python -m ruff check . \
		&& $$python -m ruff format --check . && $$python -m mypy

# Tests of ROS wait for each other's processes: these run one after another.
test-all:
	@python=$$(tools/environment.sh test) && tools/on_ros.sh $$python -m pytest -q -n 2 --dist loadfile tests \
		&& tools/on_ros.sh $$python -m pytest -q ros2_ws

test-robot:
	@python=$$(tools/environment.sh robot) && tools/on_ros.sh $$python -m pytest -q $(ROBOT_TESTS)

# BENCH="--parts inference --threads 1"   gives options; --help names them.
bench:
	@python=$$(tools/environment.sh test) && tools/on_ros.sh $$python -m emu_core.bench $(BENCH)

test-long:
	@python=$$(tools/environment.sh test) && EMU_LONG_TESTS=1 tools/on_ros.sh $$python -m pytest -q $(LONG_TESTS)

clean:
	rm -rf out build install log .venvs
