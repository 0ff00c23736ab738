# What a newcomer types. Environments live in .venvs/, one for each purpose; results in out/.
PYTHON ?= python3
VENVS := .venvs

.PHONY: help demo test lint format clean
