"""Checks and measurements on a GPU: `make test-gpu`."""
