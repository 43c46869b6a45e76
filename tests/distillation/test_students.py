"""Students: memory that is the same step by step and all at once, actions in range, files that bring it all back."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.distillation.actions import ActionChoice, ActionScale, Categorical, Gaussian
from rlteach.distillation.student import Student
from rlteach.distillation.students import (
    ARCHITECTURES,
    load_student,
    make_student,
    save_student,
    student_faults,
    student_from,
)
from rlteach.errors import ConfigError, InvalidValue, RunDirectoryError, UnknownName
from rlteach.space_files import describe_space, space_from

torch.set_num_threads(1)

FLAT = spaces.Box(-np.inf, np.inf, (5,))
IMAGE = spaces.Box(0, 255, (2, 7, 6), np.uint8)
BOX = spaces.Box(np.array([-1.0, 0.0], dtype=np.float32), np.array([3.0, 0.5], dtype=np.float32))
SMALL = {
    "mlp": {"hidden": [8]},
    "stack": {"hidden": [8], "history": 4},
    "gru": {"hidden": 8},
    "lstm": {"hidden": 8},
    "transformer": {"width": 8, "heads": 2, "layers": 2, "history": 4},
    "cnn": {"channels": [4, 4], "kernels": [3, 3], "strides": [2, 1], "hidden": [8]},
    "adapter": {"body": "gru", "body_kwargs": {"hidden": 8}, "latent": 3, "hidden": [8]},
}
MEMORIES = ("stack", "gru", "lstm", "transformer")
RECURRENT = ("gru", "lstm")


def small(architecture, action_space=BOX, seed=0, **kwargs):
    """Return a small student whose weights, memory and normaliser are all away from where they begin."""
    space = IMAGE if architecture == "cnn" else FLAT
    student = make_student(architecture, space, action_space, seed=seed, **{**SMALL[architecture], **kwargs})
    student.fit_normalizer(observations(40, 1, space, seed=9)[:, 0])
    if architecture in RECURRENT:
        with torch.no_grad():
            student.initial.normal_(generator=torch.Generator().manual_seed(seed))
    return student


def observations(t, n, space=FLAT, seed=0):
    """Return raw observations (t, n, size)."""
    generator = torch.Generator().manual_seed(seed)
    if space is IMAGE:
        return torch.randint(0, 256, (t, n, math.prod(space.shape)), generator=generator, dtype=torch.uint8)
    return 1.0 + 2.0 * torch.randn((t, n, *space.shape), generator=generator)


def space_of(student):
    return IMAGE if student.architecture == "cnn" else FLAT


def step_by_step(student, seen, starts, state):
    """Return what `sequence` should, by `step` alone."""
    features = []
    for now, begins in zip(seen, starts, strict=True):
        state = torch.where(begins[:, None], student.initial_state(len(now)), state)
        feature, state = student.step(now, state)
        features.append(feature)
    return torch.stack(features), state


architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


# -- memory --------------------------------------------------------------------------------------------------------


@architectures
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 11), st.integers(1, 4), st.floats(0, 1), st.integers(0, 6), st.integers(0, 1000))
def test_a_sequence_is_its_steps(architecture, t, n, share, earlier, seed):
    student = small(architecture)
    seen = observations(earlier + t, n, space_of(student), seed)
    starts = torch.from_numpy(np.random.default_rng(seed).random((t, n)) < share)
    state = student.initial_state(n)
    for now in seen[:earlier]:
        _, state = student.step(now, state)
    features, final = student.sequence(seen[earlier:], starts, state)
    expected, expected_final = step_by_step(student, seen[earlier:], starts, state)
    assert features.shape == (t, n, student.feature_size) and final.shape == (n, student.state_size)
    assert torch.allclose(features, expected, atol=1e-6)
    assert torch.allclose(final, expected_final, atol=1e-6)


@architectures
def test_the_gradients_of_a_sequence_are_those_of_its_steps(architecture):
    student = small(architecture)
    seen, state = observations(9, 3, space_of(student)), student.initial_state(3)
    starts = torch.zeros(9, 3, dtype=torch.bool)
    starts[0, 1] = starts[4, 0] = starts[4, 2] = starts[7, 0] = True
    gradients = []
    for run in (student.sequence, lambda *a: step_by_step(student, *a)):
        student.zero_grad()
        features, _ = run(seen, starts, state)
        student.head(features).square().sum().backward()
        gradients.append({k: p.grad.clone() for k, p in student.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() >= {"head.weight"}
    for name, ours in gradients[0].items():
        assert torch.allclose(ours, gradients[1][name], atol=1e-5, rtol=1e-4), name
    if architecture in RECURRENT:
        assert student.initial.grad.abs().sum() > 0


@pytest.mark.parametrize("architecture", MEMORIES)
def test_a_start_forgets_everything_before_it(architecture):
    student = small(architecture)
    first, second = observations(8, 1, seed=1), observations(8, 1, seed=2)
    second[5:] = first[5:]
    starts = torch.zeros(8, 1, dtype=torch.bool)
    remembered = [student.sequence(seen, starts, student.initial_state(1))[0] for seen in (first, second)]
    starts[5] = True
    forgot = [student.sequence(seen, starts, student.initial_state(1))[0] for seen in (first, second)]
    assert not torch.allclose(remembered[0][5:], remembered[1][5:], atol=1e-4)
    assert torch.equal(forgot[0][5:], forgot[1][5:])


@pytest.mark.parametrize("architecture", MEMORIES)
def test_rows_do_not_see_each_other(architecture):
    student = small(architecture)
    seen, starts = observations(6, 3), torch.zeros(6, 3, dtype=torch.bool)
    starts[2, 0] = starts[4, 2] = True
    together, _ = student.sequence(seen, starts, student.initial_state(3))
    for row in range(3):
        alone, _ = student.sequence(seen[:, [row]], starts[:, [row]], student.initial_state(1))
        assert torch.allclose(together[:, [row]], alone, atol=1e-6)


@pytest.mark.parametrize("architecture", ("stack", "transformer"))
@pytest.mark.parametrize("history", (1, 2, 4))
def test_nothing_older_than_the_history_reaches_the_features(architecture, history):
    student = small(architecture, history=history)
    first, second = observations(10, 1, seed=1), observations(10, 1, seed=2)
    second[10 - history :] = first[10 - history :]
    starts = torch.zeros(10, 1, dtype=torch.bool)
    ends = [student.sequence(seen, starts, student.initial_state(1))[0][-1] for seen in (first, second)]
    assert torch.allclose(*ends, atol=1e-6)
    first[10 - history] += 1.0
    assert not torch.allclose(student.sequence(first, starts, student.initial_state(1))[0][-1], ends[0], atol=1e-6)


def test_a_stack_begins_filled_with_the_first_observation_and_a_transformer_does_not():
    first = observations(1, 1)[0]
    stack, transformer = small("stack"), small("transformer")
    filled, _ = stack.step(first, stack.initial_state(1))
    expected = stack.body(stack.normalizer(first).repeat(1, 4))
    assert torch.allclose(filled, expected, atol=1e-6)
    state = transformer.initial_state(1)
    once, state = transformer.step(first, state)
    twice, state = transformer.step(first, state)
    assert not torch.allclose(once, twice, atol=1e-6)  # it knows how much it has seen
    assert state[0, -1] == 2


@pytest.mark.parametrize("architecture", ("stack", "transformer"))
def test_memory_made_of_observations_does_not_depend_on_the_weights(architecture):
    seen, starts = observations(6, 2), torch.zeros(6, 2, dtype=torch.bool)
    finals = [
        student.sequence(seen, starts, student.initial_state(2))[1]
        for student in (small(architecture, seed=1), small(architecture, seed=2))
    ]
    assert torch.equal(*finals)
    assert ARCHITECTURES[architecture].state_is_data and not ARCHITECTURES["gru"].state_is_data


def test_learning_a_memory_task_needs_the_memory():
    generator = torch.Generator().manual_seed(0)
    errors = {}
    for architecture in ("mlp", "gru"):
        space = spaces.Box(-1.0, 1.0, (2,))
        student = make_student(architecture, space, spaces.Box(-1.0, 1.0, (1,)), seed=0)
        optimizer = torch.optim.Adam(student.parameters(), 1e-2)
        for _ in range(40):
            seen = torch.zeros(8, 32, 2)
            starts = torch.zeros(8, 32, dtype=torch.bool)
            starts[0] = starts[4] = True
            seen[starts] = torch.randint(0, 2, (64, 2), generator=generator) * 2.0 - 1.0
            target = seen[[0, 0, 0, 0, 4, 4, 4, 4], :, :1] * 0.8
            features, _ = student.sequence(seen, starts, student.initial_state(32))
            loss = (student.distribution(features).mean - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors[architecture] = loss.item()
    assert errors["gru"] < 0.02 < 0.4 < errors["mlp"]


# -- sizes and weights ---------------------------------------------------------------------------------------------


def test_the_raptor_student_has_its_2084_weights():
    student = make_student("gru", spaces.Box(-1.0, 1.0, (22,)), spaces.Box(-1.0, 1.0, (4,)), hidden=16)
    assert student.parameter_count - student.log_std.numel() == 2084


@architectures
def test_the_seed_decides_the_weights_and_the_global_generator_stays(architecture):
    before = torch.get_rng_state()
    weights = [torch.cat([p.flatten() for p in small(architecture, seed=s).parameters()]) for s in (3, 3, 4)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_without_a_seed_the_global_generator_decides():
    weights = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            weights.append(make_student("gru", FLAT, BOX).memory.weight_hh_l0.detach())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_matrices_begin_orthogonal_and_the_head_small():
    student = make_student("mlp", FLAT, BOX, seed=0)
    second = student.body[2].weight.detach()
    assert torch.allclose(second @ second.T, 2 * torch.eye(64), atol=1e-5)
    head = student.head.weight.detach()
    assert torch.allclose(head @ head.T, 1e-4 * torch.eye(2), atol=1e-8)
    actions, _ = student.act(observations(1, 50)[0].numpy())
    assert np.allclose(actions, [1.0, 0.25], atol=0.1)  # the middle of the range
    choice = make_student("mlp", FLAT, spaces.Discrete(4), seed=0).distribution(torch.randn(9, 64))
    assert torch.allclose(choice.log_probs().exp(), torch.full((9, 4), 0.25), atol=0.02)


def test_an_lstm_begins_by_keeping_its_cell():
    bias = small("lstm").memory.bias_ih_l0.detach().chunk(4)
    assert torch.equal(bias[1], torch.ones(8)) and not torch.cat([bias[0], bias[2], bias[3]]).any()


def test_a_network_too_large_for_the_machine_is_refused_before_it_is_built():
    with pytest.raises(InvalidValue, match=r"1,000,0\d\d,000,0\d\d parameters, .* this machine has"):
        make_student("mlp", FLAT, BOX, hidden=(10**6, 10**6))
    assert "this machine has" in student_faults("gru", {"hidden": 10**6})[0]


def test_a_meta_device_gives_shapes_without_memory():
    with torch.device("meta"):
        student = make_student("mlp", FLAT, BOX, hidden=[5000, 5000])
    assert student.head.weight.is_meta and student.parameter_count > 25_000_000


# -- actions -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(1e-3, 1e3))
def test_units_go_there_and_back(seed, d, width):
    rng = np.random.default_rng(seed)
    low = (rng.normal(size=d) * width).astype(np.float32)
    high = low + rng.uniform(0.1, 1.0, d).astype(np.float32) * np.float32(width)
    scale = ActionScale(low, high)
    unit = rng.uniform(-1, 1, (6, d)).astype(np.float32)
    actions = scale.to_env(unit)
    assert actions.dtype == np.float32 and (actions >= low).all() and (actions <= high).all()
    assert np.allclose(scale.to_unit(actions), unit, atol=1e-4 + 1e-6 * float(np.abs(low).max() / (high - low).min()))
    assert np.array_equal(scale.to_env(np.full((1, d), 9.0)), high[None])
    assert np.array_equal(scale.to_env(np.full((1, d), -9.0)), low[None])


def test_the_scale_keeps_the_shape_of_the_box_and_copes_with_what_is_fixed_or_wide():
    scale = ActionScale(np.zeros((2, 3)), np.ones((2, 3)))
    assert scale.size == 6 and scale.to_env(np.zeros((4, 6))).shape == (4, 2, 3)
    assert scale.to_unit(np.ones((4, 2, 3))).tolist() == [[1.0] * 6] * 4
    fixed = ActionScale(np.array([2.0]), np.array([2.0]))
    assert fixed.to_unit(np.array([[2.0]])) == 0.0 and fixed.to_env(np.array([[0.7]])) == 2.0
    most = np.finfo(np.float32).max
    assert np.isfinite(ActionScale(np.array([-most]), np.array([most])).to_env(np.array([[1.0]], np.float32))).all()


@pytest.mark.parametrize(
    ("low", "high"), [([-np.inf], [1.0]), ([0.0], [np.nan]), ([1.0], [0.0]), ([0.0], [1.0, 2.0]), ([], [])]
)
def test_bounds_that_scale_nothing_are_refused(low, high):
    with pytest.raises(InvalidValue, match="finite bounds"):
        ActionScale(np.array(low), np.array(high))


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([3, 3]), spaces.MultiBinary(4), spaces.Box(0, 9, (1,), np.int64)]
)
def test_other_action_spaces_are_refused_with_what_is_supported(space):
    with pytest.raises(InvalidValue, match=r"Box with finite bounds .* and Discrete"):
        make_student("mlp", FLAT, space)


def test_the_head_speaks_of_a_box_by_a_gaussian_and_of_choices_by_logits():
    student = small("mlp", std=0.25)
    said = student.distribution(torch.zeros(3, 2, 8))
    assert isinstance(said, Gaussian) and said.mean.shape == (3, 2, 2)
    assert torch.allclose(said.std, torch.tensor(0.25))
    choice = small("mlp", spaces.Discrete(3, start=-1))
    assert isinstance(choice.distribution(torch.zeros(3, 8)), Categorical)
    assert choice.actions == ActionChoice(3, -1)
    assert choice.actions.to_env(np.array([0, 2])).tolist() == [-1, 1]
    assert choice.actions.to_unit(np.array([-1, 1])).tolist() == [0, 2]


def test_the_deviation_is_trained_only_when_asked_for():
    for train_std in (True, False):
        student = small("mlp", train_std=train_std)
        optimizer = torch.optim.Adam(student.parameters(), 0.1)
        said = student.distribution(student.step(observations(1, 5)[0], student.initial_state(5))[0])
        (-said.log_prob(torch.zeros(5, 2))).mean().backward()
        optimizer.step()
        assert (student.log_std.detach() != math.log(0.5)).all() == train_std
        assert "log_std" in student.state_dict()


@architectures
@pytest.mark.parametrize("space", [BOX, spaces.Discrete(3, start=5)], ids=["box", "discrete"])
def test_acting_is_stepping_in_the_units_of_the_environment(architecture, space):
    student = small(architecture, space)
    with torch.no_grad():
        student.head.weight.mul_(100)
    seen = observations(5, 4, space_of(student))
    starts = torch.zeros(5, 4, dtype=torch.bool)
    starts[3, 2] = True
    features, _ = student.sequence(seen, starts, student.initial_state(4))
    expected = student.distribution(features).mode().detach().numpy()
    state = None
    for time in range(5):
        shaped = seen[time].numpy().reshape(4, *space_of(student).shape)
        actions, state = student.act(shaped, state, starts[time].numpy())
        assert np.allclose(actions, student.actions.to_env(expected[time]), atol=1e-5)
        assert all(space.contains(action) for action in actions)
        assert state.dtype == np.float32 and state.shape == (4, student.state_size)


def test_sampled_actions_follow_the_distribution_and_the_generator():
    student = small("mlp", spaces.Discrete(3))
    with torch.no_grad():
        student.head.weight.zero_()
        student.head.bias.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    seen = np.zeros((20_000, 5), dtype=np.float32)
    drawn, _ = student.act(seen, deterministic=False, generator=np.random.default_rng(0))
    again, _ = student.act(seen, deterministic=False, generator=np.random.default_rng(0))
    assert np.array_equal(drawn, again)
    assert np.allclose(np.bincount(drawn) / len(drawn), [0.2, 0.3, 0.5], atol=0.015)
    gaussian = small("mlp", spaces.Box(-10.0, 10.0, (1,)), std=0.1)
    drawn, _ = gaussian.act(seen, deterministic=False, generator=np.random.default_rng(0))
    middle, _ = gaussian.act(seen)
    assert drawn.std() == pytest.approx(1.0, rel=0.03)  # 0.1 of half the range
    assert (drawn - middle).mean() == pytest.approx(0.0, abs=0.03)
    with pytest.raises(InvalidValue, match="a generator unless deterministic"):
        student.act(seen, deterministic=False)


def test_acting_takes_observations_of_any_float_type_and_leaves_its_arguments_alone():
    student = small("gru")
    seen = observations(1, 3)[0].numpy()
    _, state = student.act(seen)
    kept, seen_kept = state.copy(), seen.copy()
    double, _ = student.act(seen.astype(np.float64), state, np.array([True, False, False]))
    single, after = student.act(seen, state, np.array([True, False, False]))
    assert np.allclose(double, single, atol=1e-6)
    assert np.array_equal(state, kept) and np.array_equal(seen, seen_kept)
    frozen = np.broadcast_to(seen[::-1], seen.shape)  # read-only, and with negative strides
    assert np.allclose(student.act(frozen)[0], student.act(seen)[0][::-1], atol=1e-6)
    after[:] = 0.0  # the caller may write into what it was given
    assert np.array_equal(student.act(seen, state, np.array([True, False, False]))[0], single)


# -- the normaliser ------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_running_statistics_are_those_of_everything_seen(seed, sizes):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(size=(size, 5)) * [1, 10, 0.1, 1, 1] + [0, 100, 5, -3, 0] for size in sizes]
    student = make_student("mlp", FLAT, BOX, seed=0)
    for batch in batches:
        student.update_normalizer(batch)
    everything = np.concatenate(batches)
    std = everything.std(0) if len(everything) > 1 else np.ones(5)
    assert np.allclose(student.normalizer.mean, everything.mean(0), rtol=1e-4, atol=1e-4)
    assert np.allclose(student.normalizer.std, std, rtol=1e-3, atol=1e-5)
    student.fit_normalizer(batches[0])
    assert np.allclose(student.normalizer.mean, batches[0].mean(0), rtol=1e-4, atol=1e-4)


def test_it_begins_as_the_identity_clips_and_leaves_constant_columns_alone():
    student = make_student("mlp", FLAT, BOX, clip=3.0, seed=0)
    seen = torch.tensor([[0.5, -2.0, 9.0, -9.0, 0.0]])
    assert student.normalizer(seen).tolist() == [[0.5, -2.0, 3.0, -3.0, 0.0]]
    student.update_normalizer(torch.zeros(0, 5))
    batch = observations(1, 100)[0]
    batch[:, 2] = 7.0
    student.fit_normalizer(batch)
    assert student.normalizer.std[2] == 1.0
    assert student.normalizer(torch.full((1, 5), 7.5))[0, 2] == 0.5


def test_pixels_of_a_channel_share_their_statistics_and_begin_divided_by_255():
    student = make_student("cnn", IMAGE, BOX, seed=0, **SMALL["cnn"])
    assert torch.allclose(student.normalizer(torch.full((1, 84), 51, dtype=torch.uint8)), torch.tensor(0.2))
    images = np.stack([np.full((7, 6), 10.0), np.arange(42.0).reshape(7, 6)])[None].repeat(3, axis=0)
    student.fit_normalizer(images)
    mean, std = student.normalizer.mean.reshape(2, 42), student.normalizer.std.reshape(2, 42)
    assert torch.allclose(mean, torch.tensor([[10.0], [20.5]]))
    assert torch.allclose(std, torch.tensor([[1.0], [np.arange(42.0).std()]], dtype=torch.float32))


@pytest.mark.parametrize("shape", [(5,), (7, 6), (64, 64, 3)])
def test_a_cnn_wants_images_with_their_channels_first(shape):
    with pytest.raises(InvalidValue, match=r"\(channels, height, width\)"):
        make_student("cnn", spaces.Box(0, 255, shape, np.uint8), BOX)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 9), (4, 84, 84)])
def test_a_cnn_takes_images_of_any_size(shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    student = make_student("cnn", space, spaces.Discrete(2), seed=0)
    actions, _ = student.act(np.stack([space.low, space.high]))
    assert actions.shape == (2,)


# -- faults --------------------------------------------------------------------------------------------------------


def test_every_fault_is_told_at_once_with_the_nearest_valid_name():
    faults = student_faults("mlp", {"hidden": [0, 3.5], "activation": "rellu", "std": -1.0, "clip": math.nan})
    assert [fault.split(" = ")[0] for fault in faults] == ["std", "clip", "hidden[0]", "hidden[1]", "activation"]
    assert student_faults("mlp", {"activation": "rellu"})[0].endswith("Did you mean 'relu'?")
    assert "Did you mean 'gru'?" in student_faults("grru", {})[0]
    assert "Did you mean 'hidden'?" in student_faults("gru", {"hiden": 8})[0]
    assert "must be a multiple of heads" in student_faults("transformer", {"width": 10, "heads": 4})[0]
    assert "equally many" in student_faults("cnn", {"channels": [4]})[0]
    for architecture, kwargs in SMALL.items():
        assert student_faults(architecture, kwargs) == [] == student_faults(architecture, {})


@pytest.mark.parametrize(
    ("architecture", "kwargs"),
    [
        ("mlp", {"hidden": []}),
        ("mlp", {"hidden": 64}),
        ("mlp", {"hidden": "64"}),
        ("mlp", {"hidden": [True]}),
        ("mlp", {"std": 0.0}),
        ("mlp", {"seed": -1}),
        ("stack", {"history": 0}),
        ("gru", {"hidden": "8"}),
        ("lstm", {"embedding": 0}),
        ("transformer", {"layers": 0}),
        ("cnn", {"kernels": [0, 3, 3]}),
        ("mlp", {"activation": ["tanh"]}),
        ("mlp", {"hiden": [8]}),
    ],
)
def test_wrong_hyperparameters_are_refused(architecture, kwargs):
    with pytest.raises(ConfigError, match=next(iter(kwargs))):
        make_student(architecture, IMAGE if architecture == "cnn" else FLAT, BOX, **kwargs)


def test_unknown_architectures_and_observations_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'transformer'"):
        make_student("transfomer", FLAT, BOX)
    with pytest.raises(InvalidValue, match="FlattenObservation"):
        make_student("mlp", spaces.Discrete(3), BOX)
    with pytest.raises(InvalidValue, match="no head"):
        make_student("mlp", FLAT, None).distribution(torch.zeros(1, 64))


# -- files ---------------------------------------------------------------------------------------------------------


@architectures
@pytest.mark.parametrize("space", [BOX, spaces.Discrete(3, start=5), None], ids=["box", "discrete", "none"])
def test_a_saved_student_comes_back_whole(architecture, space, tmp_path):
    student = small(architecture, space)
    save_student(student, tmp_path / "new" / "student")
    assert sorted(p.name for p in (tmp_path / "new" / "student").iterdir()) == ["student.json", "student.safetensors"]
    loaded = load_student(tmp_path / "new" / "student")
    assert type(loaded) is type(student) and loaded.describe() == student.describe()
    assert loaded.state_dict().keys() == student.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in student.state_dict().items())
    seen, state = observations(3, 2, space_of(student)), student.initial_state(2)
    starts = torch.zeros(3, 2, dtype=torch.bool)
    assert torch.equal(loaded.sequence(seen, starts, state)[0], student.sequence(seen, starts, state)[0])


@architectures
def test_a_description_is_strict_json_and_builds_the_same_student(architecture):
    student = small(architecture)
    text = json.dumps(student.describe(), allow_nan=False)
    again = student_from(json.loads(text))
    assert again.describe() == student.describe()
    assert again.observation_space == student.observation_space and again.action_space == student.action_space


@pytest.mark.parametrize("space", [FLAT, IMAGE, BOX, spaces.Discrete(4, start=-2), None])
def test_spaces_are_described_exactly_and_briefly(space):
    described = describe_space(space)
    assert space_from(json.loads(json.dumps(described, allow_nan=False))) == space
    assert len(json.dumps(described)) < 120


def test_every_damage_is_noticed(tmp_path):
    student = small("mlp")
    save_student(student, tmp_path)
    weights, description = tmp_path / "student.safetensors", tmp_path / "student.json"
    data, text = weights.read_bytes(), description.read_text()
    for at in range(0, len(data), 97):
        weights.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(RunDirectoryError, match="damaged"):
            load_student(tmp_path)
    weights.write_bytes(data)
    described = json.loads(text)
    for change in (
        {"schema": 2},
        {"architecture": "mlpp"},
        {"kwargs": {"hidden": [9]}},
        {"kwargs": {"hidden": [10**6, 10**6]}},
        {"kwargs": 3},
        {"action_space": {"kind": "Box"}},
    ):
        description.write_text(json.dumps({**described, **change}))
        with pytest.raises(RunDirectoryError):
            load_student(tmp_path)
    description.write_text("[]")
    with pytest.raises(RunDirectoryError, match="describes no student"):
        load_student(tmp_path)
    description.write_text(text)
    weights.unlink()
    with pytest.raises(RunDirectoryError, match="cannot read"):
        load_student(tmp_path)


def test_students_of_others_can_be_added_with_one_class():
    assert all(issubclass(cls, Student) and cls.architecture == name for name, cls in ARCHITECTURES.items())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, cls in ARCHITECTURES.items():
            student = cls(IMAGE if name == "cnn" else FLAT, BOX)
            assert student.kwargs().keys() == student.describe()["kwargs"].keys()
