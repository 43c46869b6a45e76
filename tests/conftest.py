"""What every test shares."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ECHO_FILE = Path(__file__).with_name("echo_env.py")


@pytest.fixture
def echo() -> str:
    """The environment that echoes its task, as `file.py:Class`."""
    return f"{ECHO_FILE}:EchoEnv"


@pytest.fixture
def no_tasks() -> str:
    """An environment without a task space."""
    return f"{ECHO_FILE}:NoTaskEnv"
