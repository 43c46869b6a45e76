"""Parkour: walk, swim or climb along generated terrain, between a ground and a ceiling, through water and creepers.

    env = gymnasium.make("rlteach_envs:rlteach/Parkour-v0", body="fish")
    env.reset(options={"task": env.get_wrapper_attr("test_sets")["swimming"][0]})

The environment is that of Romac et al. (2021, "TeachMyAgent: a benchmark for automatic curriculum learning in Deep
RL"). Needs Box2D: pip install rlteach[box2d].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.arguments import check_at_least_one, fixed_sets
from rlteach_envs.lidar import Lidar
from rlteach_envs.parkour_terrain import (
    CEILING_OFFSET,
    MEDIUM,
    PARKOUR_GOAL,
    ParkourNumbers,
    ParkourTerrain,
    make_parkour,
)
from rlteach_envs.stump_terrain import GROUND_HEIGHT, START_PAD, Terrain
from rlteach_envs.walker_bodies import AMPHIBIANS, BODIES, CLIMBERS, SWIMMERS, WalkerBody
from rlteach_envs.walker_env import AHEAD, WalkerEnv, load_walker_world, places_ahead
from rlteach_envs.walker_tasks import TaskParameter, Tasks, check_name

SURVIVAL = 600
"""Steps after which a body is dead where it cannot breathe: 12 s."""

MOST_TURNS = 3.0
"""How often a walker rolls over, at most: motors that switch between full torques reached 2.5 turns in 50 episodes."""

PARAMETERS = {
    "input_vector": TaskParameter("1", -1.0, 1.0, -10.0, 10.0, size=3, trend=0),
    "water_level": TaskParameter("1", 0.0, 1.0, 0.0, 1.0),
    "creepers_height": TaskParameter("m", 0.0, 4.0, 0.0, 20.0, trend=0),
    "creepers_spacing": TaskParameter("m", 0.0, 5.0, 0.0, 200.0, trend=0),
    "creepers_width": TaskParameter("m", 0.2, 1.0, 0.0, 10.0, trend=0),
    "scale": TaskParameter("1", 10.0, 20.0, 2.0, 100.0, trend=-1),
}
"""Every parameter that a track can have."""

USUAL = {
    "input_vector": MEDIUM,
    "water_level": (0.0, 1.0),
    "creepers_height": (0.0, 4.0),
    "creepers_spacing": (0.0, 5.0),
}
"""The six numbers of the published task space."""


@dataclass(frozen=True)
class Kind:
    """How bodies of one kind see, breathe, and are tested.

    Attributes:
        first_ray: Angle of the first ray from straight down, turning forwards, in rad.
        sweep: Ten times the angle between two rays, in rad.
        dies_under_water: Whether `SURVIVAL` steps under water kill.
        dies_outside: Whether `SURVIVAL` steps out of the water kill.
        test_set: Name of the primary test set.
        test_water: Water levels in it.
    """

    first_ray: float
    sweep: float
    dies_under_water: bool
    dies_outside: bool
    test_set: str
    test_water: tuple[float, float]


WALKER = Kind(0.0, 1.5, True, False, "walking", (0.0, 0.0))
AMPHIBIAN = Kind(0.0, 1.5, False, False, "walking", (0.0, 0.0))
SWIMMER = Kind(0.0, np.pi, False, True, "swimming", (1.0, 1.0))
CLIMBER = Kind(1.5, 2.3, True, False, "climbing", (0.0, 0.8))

PARKOUR_BODIES: dict[str, tuple[WalkerBody, Kind]] = {
    name: (body, kind)
    for bodies, kind in ((BODIES, WALKER), (AMPHIBIANS, AMPHIBIAN), (SWIMMERS, SWIMMER), (CLIMBERS, CLIMBER))
    for name, body in bodies.items()
}
"""Every body by name."""


class Parkour(WalkerEnv):
    """Get to the end of a track of 103 m by walking, swimming or climbing, according to the body.

    Task: by default `input_vector`, three numbers in the box [-0.35, 0.05] x [0.6, 1] x [-0.1, 0.3] that choose ground
    and ceiling from a family of random functions; `water_level` in [0, 1], 1 being the highest point of the ceiling;
    `creepers_height` in [0, 4] m, the mean length of what hangs from the ceiling, which scatters by 0.1 m and is at
    least 0.2 m; and `creepers_spacing` in [0, 5] m. Further parameters: `creepers_width` (m, 0.25 unless given) and
    `scale` (10 unless given; 20 halves slopes, and the height of the ceiling). Levels of water below about 0.7 are
    under the ground nearly everywhere at scale 10. Only the lengths of creepers, the push below, and a task that is
    not given are drawn from the environment's generator; the ground follows from the task.

    Physics: Box2D, steps of 1/50 s, 180 velocity and 60 position iterations, warm starting, gravity 10 m/s^2. The hull
    is pushed by U(-5, 5) N during the first step. Walkers and the fish start on a flat pad, the climber hangs from the
    ceiling by both hands, holding on. Creepers are no obstacle, only something to hold. Water bears up, resists, and
    is pushed by the motors of limbs that turn in it: see `parkour_water`.
    Action a in [-1, 1] per motor: full speed in the direction of sign(a), with |a| as the share of the torque. The
    climber's last two numbers are its hands': above 0 a hand holds on to ceiling or creeper within 0.05 m of its tip
    as soon as there is one, and else it lets go.
    Observation (float32; 36 numbers for two legs, 38 for the fish, 54 for the climber): hull angle (rad), angular
    velocity (2/50), horizontal and vertical velocity (0.12 and 0.08 per m/s), whether the hull is under water, whether
    it is dead; per motor angle (rad; knees + 1), speed (as a share of its largest), contact where it is reported; per
    hand whether something to hold is in reach, and whether it holds on; ten lidar distances, 1 = 160/30 m; and what
    each ray met: -1 water, 1 a creeper, 0 anything else or nothing. Rays of walkers go from straight down to 1.35 rad
    forwards, of the fish to 2.83 rad (nearly up), of the climber from 1.5 to 3.57 rad (a little back). Water is seen
    from above alone, and creepers from outside.
    With `privileged` 41 numbers follow, of which `observation_groups` says that only an expert sees them: heights of
    ground and ceiling at 20 places up to 17.7 m ahead and of the water's surface, above the hull, in 10 m.
    Reward: 130/30 per m forwards; -5 per rad that the hull leans further, for walkers; -0.028 per motor at full torque
    (half for quadruped and spider, a quarter for the millipede, a fifth for the climber, hands included).
    Terminated with reward -100: when the hull gets behind the beginning of the track, and for the climber when head,
    chest or a lower leg touches the ground; walkers may fall over. Terminated: beyond 100.3 m. Truncation after
    `horizon` steps. Death, of walkers and climbers after 600 steps in a row with the hull under water, of the fish
    after 600 outside, does not end an episode: from then on all actions count as 0. Success: a return above 230.

    Deviations from the published environment: the network has other weights, chosen by a rule (`parkour_terrain`); no
    weightless sensors are welded to the hands, which are measured instead; `reset` takes no steps, and a held hand may
    still touch what it holds; every body is put down on the same pad; the millipede's push is on its foremost part;
    creepers do not swing. Test sets, of 100 seeded tasks: `walking`, without water; `swimming`, all under water;
    `climbing`, with water up to 0.8; `uniform`. The body's own comes first; without `water_level` there is only
    `uniform`.

    A snapshot holds no solver impulses, which Box2D does not give away. So that whoever continues from it continues
    exactly, `get_snapshot` also lets the environment's own world forget them: saving changes the episode that goes on
    a little, and restored copies follow the changed one bit by bit.

    Args:
        body: A walker (`"classic_bipedal"`, `"old_classic_bipedal"`, `"short"`, `"quadruped"`, `"spider"`,
            `"millipede"`), `"amphibious_bipedal"`, `"fish"` or `"climbing_chimpanzee"`.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges.
        fixed: Values of further parameters, the same in every task. Without `creepers_height` there are no creepers,
            without `water_level` no water, and without `input_vector` it is the middle of its usual box.
        privileged: Whether to observe what is ahead.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        horizon: Steps after which an episode is truncated.
        lidar: `"numba"`, `"numpy"`, or `"auto"`: numba where it is installed, for lidar and water. They give equal
            numbers.
        render_mode: None or `"rgb_array"`.
    """

    terrain_type: ClassVar[type[Terrain]] = ParkourTerrain
    more_state: ClassVar[dict[str, type]] = {"under": int, "outside": int, "dead": bool}
    _terrain: ParkourTerrain | None

    def __init__(
        self,
        body: str = "classic_bipedal",
        *,
        parameters: Mapping[str, Any] | Sequence[str] = tuple(USUAL),
        fixed: Mapping[str, Any] | None = None,
        privileged: bool = False,
        velocity_iterations: int = 180,
        position_iterations: int = 60,
        horizon: int = 2000,
        lidar: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        check_name("body", body, PARKOUR_BODIES)
        check_at_least_one(velocity_iterations=velocity_iterations, position_iterations=position_iterations)
        if not isinstance(parameters, Mapping):
            names = (parameters,) if isinstance(parameters, str) else parameters
            parameters = {name: USUAL.get(name) or _usual(name) for name in names}
        tasks = Tasks(PARAMETERS, parameters, fixed)
        _check_combination({*tasks.names, *tasks.fixed})
        walker, self._kind = PARKOUR_BODIES[body]
        load_walker_world("Parkour")
        from rlteach_envs.parkour_world import ParkourWorld, parkour_start

        eye = Lidar(lidar, start=self._kind.first_ray, sweep=self._kind.sweep, surfaces=True)
        # Walkers may fall over in Parkour, and get up again.
        fatal = walker.fatal if walker.hands else ()
        compiled = eye.backend == "numba"
        self._parkour_start = parkour_start
        super().__init__(
            tasks=tasks,
            name=body,
            body=walker,
            world=ParkourWorld(walker, velocity_iterations, position_iterations, fatal, compiled=compiled),
            start=parkour_start(walker, START_PAD / 2, GROUND_HEIGHT, GROUND_HEIGHT + CEILING_OFFSET),
            goal=PARKOUR_GOAL,
            lidar=eye,
            horizon=horizon,
            render_mode=render_mode,
            more_senses=2 + 2 * len(walker.hands),
            more_actions=len(walker.hands),
            privileged=2 * AHEAD + 1 if privileged else 0,
            turns=MOST_TURNS if walker.rewards_level else 0.0,
        )

    # -- tasks -----------------------------------------------------------------------------------------------------

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """Sets of 100 seeded tasks; the one for this body comes first."""
        rng = np.random.default_rng(31)
        uniform = [self._tasks.draw(rng) for _ in range(100)]
        if "water_level" not in self._tasks.names:
            return {"uniform": uniform}
        kinds = {kind.test_set: kind for kind in (self._kind, WALKER, SWIMMER, CLIMBER)}
        sets = {name: [self._with_water(task, kind, rng) for task in uniform] for name, kind in kinds.items()}
        return sets | {"uniform": uniform}

    def _with_water(self, task: Mapping[str, Any], kind: Kind, rng: np.random.Generator) -> dict[str, Any]:
        low, high = self._tasks.range("water_level")
        return self._tasks.task(**{**task, "water_level": np.clip(rng.uniform(*kind.test_water), low, high)})

    def feasibility(self, task: Mapping[str, Any]) -> bool | None:
        """Return False for a task that nobody with this body can master, None where that is not known.

        What is known to be in the way is a ceiling so low that not even the hull passes below it, however it turns.
        """
        numbers = self._parkour_numbers(self._tasks.numbers(self._tasks.read(task)))
        terrain = make_parkour(numbers, np.random.default_rng(0))  # creepers are in nobody's way
        return False if terrain.gap() < least_width(np.array(self._body.parts[0].polygon)) else None

    @staticmethod
    def _parkour_numbers(numbers: dict[str, Any]) -> ParkourNumbers:
        return ParkourNumbers(**{"input_vector": _MIDDLE, **numbers})

    # -- episodes --------------------------------------------------------------------------------------------------

    def _make_terrain(self, numbers: dict[str, Any], rng: np.random.Generator) -> Terrain:
        return make_parkour(self._parkour_numbers(numbers), rng)

    def _begin(self) -> None:
        assert self._terrain is not None and self._terrain.ceiling is not None
        self._under, self._outside, self._dead = 0, 0, False
        if self._body.hands:
            ceiling = float(self._terrain.ceiling[0, 1])
            self._start = self._parkour_start(self._body, START_PAD / 2, GROUND_HEIGHT, ceiling)

    def _load_lidar(self, terrain: Terrain) -> None:
        assert isinstance(terrain, ParkourTerrain)
        self._lidar.load(terrain.segments(), terrain.water)

    def _act(self, action: list[float]) -> float:
        kind = self._kind
        self._dead = (kind.dies_under_water and self._under > SURVIVAL) or (
            kind.dies_outside and self._outside > SURVIVAL
        )
        if self._dead:
            action = [0.0] * len(action)
        effort: float = self._world.step(action)
        if not self._dead:
            if self._is_under_water():
                self._under, self._outside = self._under + 1, 0
            else:
                self._under, self._outside = 0, self._outside + 1
        return effort

    def _is_under_water(self) -> bool:
        assert self._terrain is not None
        y: float = self._world.hull_position()[1]
        return y <= self._terrain.water

    def _sense(self) -> list[float]:
        senses: list[float] = self._world.sense()
        senses[4:4] = float(self._is_under_water()), float(self._dead)
        senses += self._world.hands()
        return senses

    def _shape(self, x: float, angle: float) -> float:
        return super()._shape(x, angle if self._body.rewards_level else 0.0)

    def _look_ahead(self, x: float, y: float) -> NDArray[np.float64]:
        assert self._terrain is not None
        return heights_ahead(self._terrain, x, y)

    def _picture(self, terrain: Terrain) -> NDArray[np.uint8]:
        from rlteach_envs.parkour_picture import draw

        assert isinstance(terrain, ParkourTerrain)
        return draw(terrain, self._body, self._world.states(), dead=self._dead)


_MIDDLE = np.mean(MEDIUM, axis=0).tolist()
"""The vector of tasks that have none."""


def heights_ahead(terrain: ParkourTerrain, x: float, y: float) -> NDArray[np.float64]:
    """Return the heights above (x, y) of ground and ceiling at `AHEAD` places, and of the water (41,), in 10 m."""
    assert terrain.ceiling is not None
    places = places_ahead(x)
    lines = [np.interp(places, line[:, 0], line[:, 1]) for line in (terrain.ground, terrain.ceiling)]
    return (np.array([*lines[0], *lines[1], terrain.water]) - y) / 10.0


def least_width(polygon: NDArray[np.float64]) -> float:
    """Return the least distance between two parallel lines that a convex polygon (n, 2) fits between."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.hypot(*edges.T)[:, None]
    return float(np.ptp(normals @ polygon.T, axis=1).min())


def _usual(name: str) -> tuple[float, float] | None:
    check_name("parameter", name, PARAMETERS)
    return PARAMETERS[name].low, PARAMETERS[name].high


def _check_combination(names: set[str]) -> None:
    if "creepers_height" not in names and (orphans := names & {"creepers_spacing", "creepers_width"}):
        raise ValueError(f"{min(orphans)} needs creepers: add creepers_height to the parameters or to the fixed values")
