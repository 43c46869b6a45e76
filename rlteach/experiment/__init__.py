"""Runs and sweeps: configuration, run directories, checkpoints, evaluation, benchmarks."""
