"""Procedurally parameterised Gymnasium environments.

    env = gymnasium.make("rlteach_envs:rlteach/GoalMaze-v0")
    env.reset(options={"task": env.get_wrapper_attr("task_space").sample()})

Each has a task space, fixed test sets, a return range and a hand-made order from easy to hard.
"""

import gymnasium

gymnasium.register(
    id="rlteach/ToyCubes-v0",
    entry_point="rlteach_envs.toy_cubes:ToyCubes",
    vector_entry_point="rlteach_envs.toy_cubes:ToyCubesBatch",
)
gymnasium.register(
    id="rlteach/GoalMaze-v0",
    entry_point="rlteach_envs.goal_maze:GoalMaze",
    vector_entry_point="rlteach_envs.goal_maze:GoalMazeBatch",
)
gymnasium.register(
    id="rlteach/PointMassGate-v0",
    entry_point="rlteach_envs.point_mass_gate:PointMassGate",
    vector_entry_point="rlteach_envs.point_mass_gate:PointMassGateBatch",
)
gymnasium.register(id="rlteach/StumpTracks-v0", entry_point="rlteach_envs.stump_tracks:StumpTracks")
gymnasium.register(
    id="rlteach/StumpTracksFast-v0",
    entry_point="rlteach_envs.stump_tracks:StumpTracks",
    kwargs={"velocity_iterations": 60, "position_iterations": 20},
)
