"""Procedurally parameterised Gymnasium environments.

    env = gymnasium.make("rlteach_envs:rlteach/GoalMaze-v0")
    env.reset(options={"task": env.get_wrapper_attr("task_space").sample()})

Most have a task space, fixed test sets, a return range and a hand-made order from easy to hard. WindGain, TigerRoom,
MemoryTMaze, LightDark, HiddenMassPendulum, the grid mazes and the masked ones hide a part of their state from students:
their `observation_groups` say who sees what.
"""

import gymnasium

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
    reward_threshold=3800.0,
)
gymnasium.register(
    id="rlteach/MaskedLunarLander-v0",
    entry_point="rlteach_envs.masked:MaskedLunarLander",
    max_episode_steps=1000,
    reward_threshold=200.0,
)
