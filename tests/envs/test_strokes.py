"""Strokes, dots and arcs against distances computed pixel by pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlteach_envs.strokes import BLUE, WHITE, arc, dot, on_circle, stroke

place = st.tuples(st.floats(-30, 90), st.floats(-30, 70))


def empty() -> np.ndarray:
    return np.full((40, 60, 3), 255, dtype=np.uint8)


def distances(places: list[tuple[float, float]]) -> np.ndarray:
    """Return the distance of every pixel's middle to the nearest of many places."""
    x, y = np.arange(60) + 0.5, np.arange(40)[:, None] + 0.5
    return np.min([np.hypot(x - a, y - b) for a, b in places], axis=0)


def agree(image: np.ndarray, distance: np.ndarray, width: float, slack: float) -> None:
    assert (image[distance < width / 2 - 0.5 - slack] == BLUE).all()
    assert (image[distance > width / 2 + 0.5 + slack] == 255).all()


@settings(max_examples=30, deadline=None)
@given(place, place, st.floats(1, 12))
def test_a_stroke_colours_what_is_near_to_it_inside_the_picture_or_not(
    start: tuple[float, float], end: tuple[float, float], width: float
) -> None:
    image = empty()
    stroke(image, start, end, width, BLUE)
    shares = np.linspace(0, 1, 400)
    agree(image, distances([tuple(np.array(start) * (1 - t) + np.array(end) * t) for t in shares]), width, 0.2)  # type: ignore[misc]


@settings(max_examples=30, deadline=None)
@given(place, st.floats(2, 40), st.floats(-9, 9), st.floats(-6, 6), st.floats(1, 9))
def test_an_arc_colours_what_is_near_to_its_part_of_a_circle(
    centre: tuple[float, float], radius: float, first: float, turn: float, width: float
) -> None:
    image = empty()
    arc(image, centre, radius, first, first + turn, width, BLUE)
    angles = np.linspace(first, first + turn, 500)
    # Beyond its ends an arc is round only as far as a small circle is straight.
    agree(image, distances([on_circle(centre, radius, a) for a in angles]), width, 0.2 + width**2 / radius)


def test_angles_go_anticlockwise_from_upwards() -> None:
    places = [on_circle((30, 20), 10, angle) for angle in (0.0, math.pi / 2, math.pi, -math.pi / 2)]
    assert np.array(places) == pytest.approx(np.array([(30, 10), (20, 20), (30, 30), (40, 20)]))


def test_a_pixel_on_the_edge_is_coloured_in_part_and_a_dot_has_a_rim() -> None:
    image = empty()
    stroke(image, (0.0, 10.75), (60.0, 10.75), 4.0, (0, 0, 0))  # from 8.75 to 12.75
    assert image[7:14, 30, 0].tolist() == [255, 191, 0, 0, 0, 64, 255]
    image[:] = 0
    dot(image, (20.5, 20.5), 4, BLUE)
    assert tuple(image[20, 20]) == BLUE and tuple(image[20, 25]) == WHITE and (image[20, 27] == 0).all()
