"""Tracks through twelve points: their geometry against independent computations, and that all of them can be driven."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rlteach_envs import car_track
from rlteach_envs.car_track import (
    CLEARANCE,
    FIELD,
    HALF_WIDTH,
    MIN_RADIUS,
    POINTS,
    SPREAD,
    TEST_SEEDS,
    TILE,
    evened,
    make_track,
    zigzag,
)
from scipy.integrate import quad


def draw(seed):
    return np.random.default_rng(seed).uniform(-SPREAD, SPREAD, (POINTS, 2))


def square_corners():
    return np.tile([(-SPREAD, -SPREAD), (SPREAD, -SPREAD), (SPREAD, SPREAD), (-SPREAD, SPREAD)], (3, 1))


DEGENERATE = {
    "one place": np.full((POINTS, 2), 30.0),
    "a corner": np.full((POINTS, 2), SPREAD),
    "two places": np.repeat([(-SPREAD, 0.0), (SPREAD, 0.0)], 6, axis=0),
    "a line": np.stack([np.linspace(-SPREAD, SPREAD, POINTS), np.linspace(-SPREAD, SPREAD, POINTS)], axis=1),
    "four corners": square_corners(),
    "eleven together": np.concatenate([np.zeros((11, 2)), [(SPREAD, SPREAD)]]),
    "a cluster": draw(0) * 1e-6,
}


# -- independent geometry ----------------------------------------------------------------------------------------------


def edges(track):
    """Return the left and the right edge of the road (n, 2) each."""
    middle, cos, sin = track.nodes[:, :2], track.nodes[:, 2:3], track.nodes[:, 3:4]
    normal = np.concatenate([-sin, cos], axis=1)
    return middle + HALF_WIDTH * normal, middle - HALF_WIDTH * normal


def crossings(first, second):
    """Return how many pairs of segments of two closed lines cross properly, by the signs of four triangles."""

    def side(a, b, c):
        (ax, ay), (bx, by), (cx, cy) = (np.moveaxis(p, -1, 0) for p in (a, b, c))
        return np.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))

    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]
    apart = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return int(apart.sum())


def largest_bend(points):
    """Return the largest change of direction per m along a track through ordered points, from a fine polyline."""
    line = car_track.positions(car_track.bezier(points), np.linspace(0, 1, 2000, endpoint=False))
    worst = 0.0
    for curve in line:
        steps = np.diff(curve, axis=0)
        angles = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        worst = max(worst, float(np.abs(np.diff(angles) / np.hypot(*steps[1:].T)).max()))
    return worst


def assert_drivable(track):
    assert np.isfinite(track.nodes).all() and np.abs(track.nodes[:, 4]).max() <= 1.02 / MIN_RADIUS
    left, right = edges(track)
    assert crossings(left, left) == crossings(right, right) == crossings(left, right) == 0
    assert np.abs(np.concatenate([left, right])).max() < FIELD
    turned = np.angle(np.exp(1j * np.diff(np.arctan2(track.nodes[:, 3], track.nodes[:, 2]), append=np.nan))[:-1]).sum()
    last = np.arctan2(track.nodes[[0, -1], 3], track.nodes[[0, -1], 2])
    turned += np.angle(np.exp(1j * (last[0] - last[1])))
    assert turned == pytest.approx(2 * np.pi)


@pytest.mark.parametrize("seed", range(3))
def test_length_and_spacing_agree_with_an_integral_of_the_speed(seed):
    track = make_track(draw(seed))
    controls = car_track.bezier(track.points)
    power = np.array([[1, 0, 0, 0], [-3, 3, 0, 0], [3, -6, 3, 0], [-1, 3, -3, 1]])  # from Bezier to monomials

    def speed(u, coefficients):
        return float(np.hypot(*(coefficients[1] + 2 * u * coefficients[2] + 3 * u * u * coefficients[3])))

    length = sum(quad(speed, 0, 1, args=(power @ curve,))[0] for curve in controls)
    assert track.length == pytest.approx(length, rel=1e-3)
    assert len(track.nodes) == round(track.length / TILE)
    gap = track.length / len(track.nodes)
    chords = np.hypot(*(np.roll(track.nodes[:, :2], -1, axis=0) - track.nodes[:, :2]).T)
    bends = (np.abs(track.nodes[:, 4]) + np.abs(np.roll(track.nodes[:, 4], -1))) / 2
    expected = gap * (1 - (bends * gap) ** 2 / 24)  # the chord of an arc
    assert chords == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_lie_on_the_curves_with_their_direction_and_curvature(seed):
    track = make_track(draw(seed))
    u = np.linspace(0, 1, 2000, endpoint=False)
    fine = car_track.positions(car_track.bezier(track.points), u).reshape(-1, 2)
    before, after = np.roll(fine, 1, axis=0), np.roll(fine, -1, axis=0)
    near = [int(np.hypot(*(fine - node[:2]).T).argmin()) for node in track.nodes]
    assert np.hypot(*(fine[near] - track.nodes[:, :2]).T).max() < 0.05
    ways = (after - before)[near]
    cosines = (ways * track.nodes[:, 2:4]).sum(axis=1) / np.hypot(*ways.T)
    assert cosines.min() > 1 - 1e-4
    # Of the circle through three points: four times the area over the product of the sides.
    a, b, c = (np.hypot(*side.T) for side in (fine - before, after - fine, after - before))
    area = ((fine - before)[:, 0] * (after - before)[:, 1] - (fine - before)[:, 1] * (after - before)[:, 0]) / 2
    bends = (4 * area / (a * b * c))[near]
    # At a control point the curvature jumps.
    assert np.quantile(np.abs(bends - track.nodes[:, 4]), 0.98) < 2e-3


def test_a_circle_has_the_curvature_of_its_radius_and_a_standstill_none():
    angle = np.linspace(0, 6, 7)
    way = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * 20.0
    change = -np.stack([np.cos(angle), np.sin(angle)], axis=1) * 20.0
    assert car_track.curvature(way, change) == pytest.approx(1 / 20.0)
    assert car_track.curvature(way, -change) == pytest.approx(-1 / 20.0)
    assert np.isnan(car_track.curvature(np.zeros(2), np.ones(2)))


def test_curves_join_at_the_points_in_directions_between_those_of_the_edges():
    points = evened(draw(5), np.zeros(1))[0]
    controls = car_track.bezier(points)
    ends = np.array([0.0, 1.0])
    places, (ways, _) = car_track.positions(controls, ends), car_track.derivatives(controls, ends)
    assert places[:, 0] == pytest.approx(points) and places[:, 1] == pytest.approx(np.roll(points, -1, axis=0))
    angles = np.arctan2(ways[..., 1], ways[..., 0])
    assert np.exp(1j * angles[:, 0]) == pytest.approx(np.exp(1j * np.roll(angles[:, 1], 1)))
    chords = np.roll(points, -1, axis=0) - points
    turn = np.angle(np.exp(1j * (np.arctan2(*chords.T[::-1]) - np.roll(np.arctan2(*chords.T[::-1]), 1))))
    from_before = np.angle(np.exp(1j * (angles[:, 0] - np.roll(np.arctan2(*chords.T[::-1]), 1))))
    assert from_before / turn == pytest.approx(math.atan(0.2) / math.pi + 0.5)


# -- control points ----------------------------------------------------------------------------------------------------


def test_moved_points_go_from_where_they_were_to_an_even_ring():
    points = draw(1)
    start, half, ring = evened(points, np.array([0.0, 0.5, 1.0]))
    assert {tuple(p) for p in np.round(start, 6)} == {tuple(p) for p in np.round(points, 6)}
    middle = points.mean(axis=0)
    radii = np.hypot(*(ring - middle).T)
    assert radii == pytest.approx(np.hypot(*(points - middle).T).mean())
    angles = [np.unwrap(np.arctan2(*(p - middle).T[::-1])) for p in (start, half, ring)]
    assert np.diff(angles[2]) == pytest.approx(np.pi / 6)
    assert all((np.diff(a) > 0).all() for a in angles)
    assert np.hypot(*(half - middle).T) == pytest.approx((np.hypot(*(start - middle).T) + radii) / 2)


def test_the_order_of_the_points_does_not_matter():
    points = draw(2)
    track, other = make_track(points), make_track(np.random.default_rng(0).permutation(points))
    assert track.nodes == pytest.approx(other.nodes) and track.evened == other.evened


def test_points_are_moved_no_further_than_necessary():
    moved = 0
    for seed in range(30):
        points = draw(seed)
        track = make_track(points)
        if track.evened == 0.0:
            continue
        moved += 1
        before = evened(points, np.array([track.evened - 0.05]))[0]
        length, nodes = car_track._nodes(car_track.bezier(before))
        distance = np.hypot(*(nodes[:, None, :2] - nodes[None, :, :2]).transpose(2, 0, 1))
        places = np.arange(len(nodes)) * length / len(nodes)
        along = np.abs(places[:, None] - places)
        far = np.minimum(along, length - along) >= CLEARANCE * np.pi / 2
        assert largest_bend(before) > 0.999 / MIN_RADIUS or distance[far].min() < CLEARANCE
    assert moved > 15


def test_the_smallest_ring_is_drivable():
    track = make_track(DEGENERATE["one place"])
    ring = evened(DEGENERATE["one place"], np.ones(1))[0]
    assert largest_bend(ring) < 1 / MIN_RADIUS and track.evened < 1.0
    length, nodes = car_track._nodes(car_track.bezier(ring))
    assert car_track.nearest_approach(nodes[:, :2], length) > CLEARANCE


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_points_still_give_a_road(name):
    assert_drivable(make_track(DEGENERATE[name]))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (POINTS, 2), elements=st.floats(-SPREAD, SPREAD)))
def test_every_task_gives_a_road_that_neither_folds_nor_crosses_itself(points):
    assert_drivable(make_track(points))


def test_uniform_tasks_give_roads_that_keep_their_distance():
    for seed in range(40):
        track = make_track(draw(seed))
        assert_drivable(track)
        assert car_track.nearest_approach(track.nodes[:, :2], track.length) >= CLEARANCE


def test_the_nearest_approach_of_a_narrow_oval_is_its_width():
    straight = np.linspace(-100, 100, 200)
    oval = np.concatenate([np.stack([straight, np.full(200, -11.0)], 1), np.stack([-straight, np.full(200, 11.0)], 1)])
    assert car_track.nearest_approach(oval, 400 * straight[1] - 400 * straight[0]) == pytest.approx(22.0, abs=1e-9)


def test_kerbs_stand_on_the_inner_side_of_long_sharp_bends():
    bends = np.zeros(40)
    bends[3:9], bends[12:15], bends[20:24], bends[30:32], bends[32:34] = 0.1, 0.1, -0.1, 0.1, -0.1
    expected = np.zeros(40)
    expected[3:9], expected[20:24] = 1, -1
    assert car_track.kerb_sides(bends).tolist() == expected.tolist()
    assert car_track.kerb_sides(np.roll(bends, -5)).tolist() == np.roll(expected, -5).tolist()


# -- held-out tracks ---------------------------------------------------------------------------------------------------


def test_the_test_seeds_are_those_that_the_rule_finds():
    found = [seed for seed in range(100) if car_track.is_test_track(make_track(zigzag(seed)))]
    assert found == [seed for seed in TEST_SEEDS if seed < 100] and len(found) == 3
    assert len(set(TEST_SEEDS)) == 20 and all(car_track.is_test_track(make_track(zigzag(s))) for s in TEST_SEEDS)


def test_test_tracks_are_longer_and_tighter_than_uniform_ones():
    def measures(track):
        return track.length, car_track.tight_length(track), np.abs(track.nodes[:, 4]).mean() * track.length

    uniform = np.array([measures(make_track(draw(seed))) for seed in range(100, 250)])
    held_out = np.array([measures(make_track(zigzag(seed))) for seed in TEST_SEEDS])
    assert (held_out.min(axis=0)[:2] >= np.quantile(uniform, 0.9, axis=0)[:2]).all()
    assert np.median(held_out[:, 2]) > uniform[:, 2].max()
