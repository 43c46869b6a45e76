"""Procedurally parameterised Gymnasium environments.

    env = gymnasium.make("rlteach_envs:rlteach/GoalMaze-v0")
    env.reset(options={"task": env.get_wrapper_attr("task_space").sample()})

Most have a task space, fixed test sets, a return range and a hand-made order from easy to hard. WindGain, TigerRoom,
MemoryTMaze, LightDark, HiddenMassPendulum, Quadrotor, TerrainWalker, the grid mazes, the masked ones and the ones with
changing dynamics hide a part of their state from students: their `observation_groups` say who sees what.
"""

import gymnasium

from rlteach_envs.one_end import ONE_END

_WITH_BATCH_FORM = {
    "ToyCubes": "toy_cubes",
    "GoalMaze": "goal_maze",
    "PointMassGate": "point_mass_gate",
    "GridMaze": "grid_maze",
    "WindGain": "wind_gain",
    "TigerRoom": "tiger_room",
    "MemoryTMaze": "memory_t_maze",
    "LightDark": "light_dark",
    "HiddenMassPendulum": "hidden_mass_pendulum",
    "Quadrotor": "quadrotor",
}

for _name, _module in _WITH_BATCH_FORM.items():
    gymnasium.register(
        id=f"rlteach/{_name}-v0",
        entry_point=f"rlteach_envs.{_module}:{_name}",
        vector_entry_point=f"rlteach_envs.{_module}:{_name}Batch",
    )
gymnasium.register(id="rlteach/MiniGridMaze-v0", entry_point="rlteach_envs.minigrid_maze:MiniGridMaze")
gymnasium.register(id="rlteach/StumpTracks-v0", entry_point="rlteach_envs.stump_tracks:StumpTracks")
gymnasium.register(
    id="rlteach/StumpTracksFast-v0",
    entry_point="rlteach_envs.stump_tracks:StumpTracks",
    kwargs={"velocity_iterations": 60, "position_iterations": 20},
)
gymnasium.register(id="rlteach/Parkour-v0", entry_point="rlteach_envs.parkour:Parkour")
gymnasium.register(id="rlteach/UEDWalker-v0", entry_point="rlteach_envs.ued_walker:UEDWalker")
gymnasium.register(id="rlteach/CarRacing-v0", entry_point="rlteach_envs.car_racing:CarRacing")
gymnasium.register(
    id="rlteach/CarRacingFeatures-v0",
    entry_point="rlteach_envs.car_racing:CarRacing",
    kwargs={"observation": "features"},
)
gymnasium.register(
    id="rlteach/MaskedHopper-v0",
    entry_point="rlteach_envs.masked:MaskedHopper",
    max_episode_steps=1000,
    additional_wrappers=ONE_END,
    reward_threshold=3800.0,
)
gymnasium.register(
    id="rlteach/MaskedLunarLander-v0",
    entry_point="rlteach_envs.masked:MaskedLunarLander",
    max_episode_steps=1000,
    additional_wrappers=ONE_END,
    reward_threshold=200.0,
)
for _robot in ("Hopper", "HalfCheetah", "Walker2d", "Ant"):
    gymnasium.register(
        id=f"rlteach/{_robot}Dynamics-v0",
        entry_point=f"rlteach_envs.mujoco_dynamics:{_robot}Dynamics",
        max_episode_steps=1000,
        additional_wrappers=ONE_END,
        kwargs={"robot": _robot},
    )
gymnasium.register(
    id="rlteach/TerrainWalker-v0",
    entry_point="rlteach_envs.terrain_walker:TerrainWalker",
    max_episode_steps=1000,
    additional_wrappers=ONE_END,
)

ADAPTED = "snapshots (through rlteach.snapshots)"
"""Snapshots of an environment that has no `get_snapshot` itself: those of `rlteach.snapshots.restorable`."""

OFFERS: dict[str, tuple[str, ...]] = {
    "rlteach/AntDynamics-v0": ("tasks", "privileged", ADAPTED, "set_task", "oracle_window", "pictures"),
    "rlteach/CarRacing-v0": ("tasks", "snapshots", "oracle_window", "pictures"),
    "rlteach/CarRacingFeatures-v0": ("tasks", "privileged", "snapshots", "oracle_window", "pictures"),
    "rlteach/GoalMaze-v0": (
        "tasks",
        "batch form",
        "snapshots",
        "set_task",
        "demonstrate",
        "oracle_window",
        "feasibility",
        "pictures",
    ),
    "rlteach/GridMaze-v0": (
        "tasks",
        "privileged",
        "batch form",
        "snapshots",
        "set_task",
        "edit_task",
        "demonstrate",
        "oracle_window",
        "feasibility",
        "pictures",
    ),
    "rlteach/HalfCheetahDynamics-v0": ("tasks", "privileged", ADAPTED, "set_task", "oracle_window", "pictures"),
    "rlteach/HiddenMassPendulum-v0": (
        "tasks",
        "privileged",
        "batch form",
        "snapshots",
        "set_task",
        "oracle_window",
        "pictures",
    ),
    "rlteach/HopperDynamics-v0": ("tasks", "privileged", ADAPTED, "set_task", "oracle_window", "pictures"),
    "rlteach/LightDark-v0": ("tasks", "privileged", "batch form", "snapshots", "set_task", "pictures"),
    "rlteach/MaskedHopper-v0": ("privileged", ADAPTED, "pictures"),
    "rlteach/MaskedLunarLander-v0": ("tasks", "privileged", ADAPTED, "oracle_window", "pictures"),
    "rlteach/MemoryTMaze-v0": (
        "tasks",
        "privileged",
        "batch form",
        "snapshots",
        "set_task",
        "oracle_window",
        "pictures",
    ),
    "rlteach/MiniGridMaze-v0": (
        "tasks",
        "privileged",
        "snapshots",
        "set_task",
        "edit_task",
        "demonstrate",
        "oracle_window",
        "feasibility",
        "pictures",
    ),
    "rlteach/Parkour-v0": ("tasks", "snapshots", "oracle_window", "feasibility", "pictures"),
    "rlteach/PointMassGate-v0": (
        "tasks",
        "batch form",
        "snapshots",
        "set_task",
        "demonstrate",
        "oracle_window",
        "feasibility",
        "pictures",
    ),
    "rlteach/Quadrotor-v0": ("tasks", "privileged", "batch form", "snapshots", "set_task", "oracle_window", "pictures"),
    "rlteach/StumpTracks-v0": ("tasks", "snapshots", "oracle_window", "pictures"),
    "rlteach/StumpTracksFast-v0": ("tasks", "snapshots", "oracle_window", "pictures"),
    "rlteach/TerrainWalker-v0": ("tasks", "privileged", ADAPTED, "oracle_window", "pictures"),
    "rlteach/TigerRoom-v0": ("tasks", "privileged", "batch form", "snapshots", "set_task", "pictures"),
    "rlteach/ToyCubes-v0": (
        "tasks",
        "batch form",
        "snapshots",
        "set_task",
        "oracle_window",
        "feasibility",
        "skill_graph",
        "pictures",
    ),
    "rlteach/UEDWalker-v0": ("tasks", "snapshots", "edit_task", "oracle_window", "feasibility", "pictures"),
    "rlteach/Walker2dDynamics-v0": ("tasks", "privileged", ADAPTED, "set_task", "oracle_window", "pictures"),
    "rlteach/WindGain-v0": ("tasks", "privileged", "batch form", "snapshots", "set_task", "oracle_window", "pictures"),
}
"""What each environment offers, known without building it, for `rlteach list envs`."""

EXTRAS = {
    "rlteach/MaskedLunarLander-v0": "box2d",
    "rlteach/MiniGridMaze-v0": "minigrid",
    "rlteach/Parkour-v0": "box2d",
    "rlteach/StumpTracks-v0": "box2d",
    "rlteach/StumpTracksFast-v0": "box2d",
    "rlteach/UEDWalker-v0": "box2d",
    "rlteach/MaskedHopper-v0": "mujoco",
    "rlteach/TerrainWalker-v0": "mujoco",
    **{f"rlteach/{_robot}Dynamics-v0": "mujoco" for _robot in ("Ant", "HalfCheetah", "Hopper", "Walker2d")},
}
"""The extra that an environment needs, as in `pip install rlteach[mujoco]`; those that are not here need none."""
