"""Every environment of the family, with every body of those that have several: what tests of all of them go through."""

from typing import Any

import gymnasium as gym
from rlteach_envs.parkour import PARKOUR_BODIES
from rlteach_envs.walker_bodies import BODIES

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "rlteach/Parkour-v0": [{"body": body} for body in PARKOUR_BODIES],
    "rlteach/StumpTracksFast-v0": [{"body": body} for body in BODIES],
}
IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("rlteach/"))
CASES = [(env_id, kwargs) for env_id in IDS for kwargs in VARIANTS.get(env_id, [{}])]


def named(value: Any) -> str:
    """Return what a case is called in the report."""
    return value.removeprefix("rlteach/") if isinstance(value, str) else "-".join(map(str, value.values())) or "plain"
