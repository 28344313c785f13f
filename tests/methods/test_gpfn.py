"""Learning in images: what a frame shows, the loss worked out by hand, visibility that is learnt, and whole runs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_room, tiny_config
from tiny_experiment import tiny_experiment
from tiny_frames import camera, looking_along_x
from torch.nn import functional

from otoc_lib.annotation.images import draw_from, label_points
from otoc_lib.datasets.bundled_frames import write_frames
from otoc_lib.datasets.frames import Frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.methods.gpfn import (
    FrameBatches,
    Projected,
    Sight,
    camera_sample,
    classes_of_pixels,
    cropped,
    pixel_cross_entropy,
    pixel_weights,
    sight_of,
    spread,
    together,
)
from otoc_lib.methods.stages import Stages, run_method
from otoc_lib.reporting.runs import read_json
from otoc_lib.scene import Scene
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.predict import predict

SHAPE = (12, 16)
CAMERA = camera(SHAPE, 10.0)
LEARNT = {"method": "gpfn", "source": "images", "images_root": "frames"}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Three rooms and the frames that a camera takes of them; ids are classes, 255 none."""
    root = tmp_path_factory.mktemp("frames")
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    for room in rooms:
        ids = np.where(room.labels == IGNORE, 255, room.labels).astype(np.uint16)
        write_frames(root / room.name, room.name, room.coords + room.origin, room.colors, ids, 0)
    return rooms, root


def frames_of(filmed, share=0.2):
    rooms, root = filmed
    table = np.full(65536, IGNORE, np.int16)
    table[:20] = np.arange(20)
    return {room.name: draw_from(room, root, table, share, 0) for room in rooms}


def scene_of(coords, name="points"):
    coords = np.asarray(coords, np.float32)
    nothing = np.zeros(len(coords), np.int32)
    return Scene(name, coords, np.zeros((len(coords), 3), np.uint8), nothing, None, None, np.zeros(3), SCANNET20)


def random_sight(generator, count=40, classes=4, frame_depth=True):
    points = np.column_stack([generator.uniform(0.5, 4, count), generator.uniform(-1, 1, (count, 2))])
    depth = generator.uniform(0.8, 3, SHAPE) * frame_depth
    image = generator.integers(-1, classes, SHAPE)
    frame = Frame(looking_along_x(), depth.astype(np.float32), CAMERA, np.where(image < 0, IGNORE, image), CAMERA)
    return points, frame


# --- what a frame shows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_depth", [True, False])
def test_what_the_depth_shows_is_what_images_label(frame_depth):
    points, frame = random_sight(np.random.default_rng(0), 400, frame_depth=frame_depth)
    scene = scene_of(points)
    sight = sight_of(scene, frame, 0.3)
    labels = np.full(len(points), IGNORE)
    told = sight.shown & (sight.classes != IGNORE)
    labels[sight.points[told]] = sight.classes[told]
    np.testing.assert_array_equal(labels, label_points(scene.in_file(scene.coords), [frame], 4, 0.3))
    assert (np.diff(sight.pixels) >= 0).all() and 0 < told.sum() < sight.shown.sum() < len(sight.points) < 400


def test_what_hides_a_point_lies_before_it_in_one_column_at_every_distance():
    cell, tangents = 0.05, (0.11, -0.23)
    for z in (0.5, 1.0, 3.0):
        rays = np.array([[t * d for t in tangents] + [d] for d in (z, z * math.exp(3 * cell), z * math.exp(7 * cell))])
        sight = Sight(*(np.arange(3) for _ in range(3)), np.ones(3, bool), rays)
        coords = camera_sample(sight, cell).coords
        np.testing.assert_allclose(coords, [[0, 0, 0], [0, 0, 3], [0, 0, 7]], atol=1e-9)


def test_points_that_a_crop_leaves_keep_what_is_known_of_them():
    sight = Sight(*(np.array([4, 1, 2]),) * 2, np.array([7, 8, 9]), np.array([True, False, True]), np.eye(3))
    left = cropped(sight, np.array([False, True, False, True, True]))
    assert left.points.tolist() == [2, 0] and left.pixels.tolist() == [4, 1] and left.classes.tolist() == [7, 8]
    assert left.shown.tolist() == [True, False] and np.array_equal(left.in_camera, np.eye(3)[:2])


def test_rooms_stand_one_after_the_other_and_a_room_may_show_nothing():
    points, frame = random_sight(np.random.default_rng(1))
    sight = sight_of(scene_of(points), frame, 0.3)
    nothing = Sight(*(sight_part[:0] for sight_part in vars(sight).values()))
    seen = together([nothing, sight, sight], [0, 5, 45], 0.03, "torch")
    points = np.concatenate([5 + sight.points, 45 + sight.points])
    np.testing.assert_array_equal(seen.points, points)
    assert len(seen.starts) == 2 * len(np.unique(sight.pixels)) + 1 == len(seen.classes) + 1
    rows = torch.repeat_interleave(seen.starts.diff())
    np.testing.assert_array_equal(seen.classes[rows], np.concatenate([sight.classes] * 2))
    assert seen.batch.batch_size == 2 and len(seen.batch.point_to_voxel) == len(points)
    of_one_room = together([sight, sight], [7, 7], 0.03, "torch")  # two frames of it, or one twice
    np.testing.assert_array_equal(of_one_room.points, np.concatenate([7 + sight.points] * 2))
    np.testing.assert_array_equal(of_one_room.starts, seen.starts)
    empty = together([nothing], [0], 0.03, "torch")
    assert empty.starts.tolist() == [0] and len(empty.classes) == len(empty.points) == 0
    assert len(empty.batch.point_to_voxel) == 1  # a stand-in, as a batch of nothing cannot be normalised


# --- the loss ---------------------------------------------------------------------------------------------------------


def hand_made():
    """p [4, 3] of voxels; the voxel and score of six points; first point and class of three pixels; class weights."""
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(4, 3, generator=generator, dtype=torch.float64), 1)
    voxels, scores = torch.tensor([0, 3, 3, 1, 2, 0]), torch.tensor([0.3, -1.0, 2.0, 0.5, -0.7, 1.1]).double()
    starts, classes = torch.tensor([0, 3, 4, 6]), torch.tensor([2, IGNORE, 1])
    return p, voxels, scores, starts, classes, torch.tensor([0.5, 1.0, 3.0]).double()


def test_the_loss_by_hand():
    p, voxels, scores, starts, classes, class_weights = hand_made()
    share, seen = pixel_weights(scores, torch.repeat_interleave(starts.diff()), 3)
    counted = torch.stack([class_weights[2], torch.tensor(0.0).double(), class_weights[1]])
    loss = pixel_cross_entropy(p, voxels, share, starts, classes, torch.stack([counted, seen]), 0.1)
    total = 0.0
    for pixel, label in ((range(3), 2), (range(4, 6), 1)):
        o = [1 / (1 + math.exp(-scores[i])) for i in pixel]
        mixed = [sum(a * float(p[voxels[i], c]) for a, i in zip(o, pixel, strict=True)) / sum(o) for c in range(3)]
        entropy = -0.9 * math.log(mixed[label]) - 0.1 * sum(map(math.log, mixed)) / 3
        total += float(class_weights[label]) * (1 - math.prod(1 - a for a in o)) * entropy
    assert float(loss) == pytest.approx(total / float(class_weights[2] + class_weights[1]), rel=1e-12)


def test_of_single_points_that_are_seen_it_is_their_cross_entropy():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    classes, class_weights = torch.tensor([0, 4, IGNORE, 2, 2, 1]), torch.rand(5, generator=generator).double()
    share, seen = pixel_weights(torch.full((6,), 60.0).double(), torch.arange(6), 6)
    counted = class_weights[classes.clamp(min=0)] * (classes != IGNORE)
    weights = torch.stack([counted, seen])
    loss = pixel_cross_entropy(logits.softmax(1), torch.arange(6), share, torch.arange(7), classes, weights, 0.2)
    labelled = classes != IGNORE
    expected = functional.cross_entropy(logits[labelled], classes[labelled], class_weights, label_smoothing=0.0)
    smooth = -logits.log_softmax(1).mean(1)[labelled]
    smooth = (smooth * class_weights[classes[labelled]]).sum() / class_weights[classes[labelled]].sum()
    assert float(loss) == pytest.approx(float(0.8 * expected + 0.2 * smooth), rel=1e-12)


def test_gradients_are_those_of_the_formula():
    p, voxels, scores, starts, classes, class_weights = hand_made()
    counted = class_weights.gather(0, classes.clamp(min=0)) * (classes != IGNORE)

    def loss(p, scores):
        share, _ = pixel_weights(scores, torch.repeat_interleave(starts.diff()), 3)
        weights = torch.stack([counted, torch.ones(3).double()])
        return pixel_cross_entropy(p, voxels, share, starts, classes, weights, 0.1)

    assert torch.autograd.gradcheck(loss, (p.requires_grad_(), scores.requires_grad_()))
    assert not pixel_weights(scores, torch.repeat_interleave(starts.diff()), 3)[1].requires_grad


def task_of(filmed, **values):
    frames = frames_of(filmed)
    config = tiny_config(**{**LEARNT, "batch_size": 2, **values})
    return config, Projected(config, filmed[0], frames), FrameBatches(config, filmed[0], frames, [0, 1, 0])


def test_a_frame_that_shows_nothing_teaches_nothing(filmed):
    _, task, batches = task_of(filmed)
    batch, _ = batches[0]
    nothing = Sight(*(np.zeros(0, np.int64) for _ in range(4)), np.zeros((0, 3)))
    seen = together([nothing], [0], task.config.visibility_cell, "auto")
    loss = task.loss([batch, seen], 0, torch.Generator())
    loss.backward()
    assert loss.item() == 0
    # of the shape of any other step, or the processes beside it would wait for gradients that never come
    assert all(not p.grad.any() for p in task.model.parameters())


@pytest.mark.parametrize("coarse_loss", [0.0, 2.0])
def test_parts_of_a_batch_add_up(filmed, coarse_loss):
    _, task, batches = task_of(filmed, coarse_loss=coarse_loss)
    task.model.eval()  # in training, batch normalisation sees other rows
    whole, parts = batches[0], [batches.part(0, number, 2) for number in range(2)]
    shares = task.survey(parts)
    assert all(0.05 < share[name] < 0.95 for share in shares for name in ("pixels", "points"))
    divided = sum(task.loss(part, 0, torch.Generator(), share) for part, share in zip(parts, shares, strict=True))
    torch.testing.assert_close(divided, task.loss(whole, 0, torch.Generator()), rtol=1e-5, atol=1e-6, check_dtype=False)


def test_pixels_weigh_by_how_many_have_their_class(filmed):
    frames = frames_of(filmed)
    config = tiny_config(**LEARNT, class_weights="inverse_sqrt")
    weights = Projected(config, filmed[0], frames).class_weights.numpy()
    images = [frames[room.name][k].classes for room in filmed[0] for k in range(len(frames[room.name]))]
    pixels = np.concatenate([image.ravel() for image in images])
    assert np.array_equal(np.concatenate([classes_of_pixels(f) for f in frames.values()]), pixels)
    counts = np.bincount(pixels[pixels >= 0], minlength=20)
    there = counts > 0
    np.testing.assert_allclose(weights[there] / weights[1], np.sqrt(counts[1] / counts[there]), rtol=1e-5)
    assert not weights[~there].any() and there.sum() >= 5


def test_batches_are_those_of_the_seed_and_every_epoch_draws_other_frames(filmed):
    _, _, batches = task_of(filmed, batch_size=3)
    again = task_of(filmed, batch_size=3)[2]
    for step in (0, 4):
        for one, other in zip(batches[step], again[step], strict=True):
            for name in ("points", "shown", "classes") if hasattr(one, "shown") else ("features", "point_to_voxel"):
                assert torch.equal(getattr(one, name), getattr(other, name))
    sizes = [len(batches[step][1].points) for step in range(6)]
    assert len(set(sizes)) > 3
    step = int(np.argmax(sizes))
    (part, seen), (cut, left) = batches[step], task_of(filmed, batch_size=3, max_points=900)[2][step]
    assert len(cut.point_to_voxel) <= 3 * 900 < len(part.point_to_voxel)
    assert 0 < len(left.points) < len(seen.points) and left.points.max() < len(cut.point_to_voxel)


@given(count=st.integers(1, 60), wanted=st.integers(1, 80), data=st.data())
def test_frames_of_a_step_are_spread_round_the_film(count, wanted, data):
    drawn = data.draw(st.integers(0, count - 1))
    found = spread(drawn, count, wanted)
    assert found[0] == drawn and len(set(found)) == len(found) == min(count, wanted)
    gaps = np.diff([*sorted(found), sorted(found)[0] + count])
    assert 0 <= min(found) <= max(found) < count and gaps.max() - gaps.min() <= 1


def test_a_step_sees_as_many_frames_of_each_room_as_it_is_told(filmed):
    rooms, frames = filmed[0], frames_of(filmed)
    one, several, all_of_them = (task_of(filmed, batch_size=3, frames_per_step=n)[2][0] for n in (1, 3, 1000))
    assert one[1].batch.batch_size == 3 and several[1].batch.batch_size == 9
    assert all_of_them[1].batch.batch_size == sum(len(frames[room.name]) for room in rooms)
    for more in (several, all_of_them):
        assert torch.equal(one[0].features, more[0].features)  # the same views of the rooms
    batch, seen = all_of_them
    slots = batch.coords[batch.point_to_voxel, 0]  # of the points of all rooms
    _, order = task_of(filmed, batch_size=3)[2].rooms_of(0, 0, 1)
    for slot, index in enumerate(order):
        room = rooms[index]
        sights = [sight_of(room, frame, frames[room.name].tolerance) for frame in frames[room.name]]
        shown = np.sort(np.concatenate([sight.points for sight in sights]))
        found = seen.points[slots[seen.points] == slot] - int((slots < slot).sum())
        np.testing.assert_array_equal(np.sort(found), shown)


# --- learning ---------------------------------------------------------------------------------------------------------


def trained(filmed, frames, folder, steps, **values):
    config = tiny_config(**{**LEARNT, "batch_size": 3, "voxel_size": 0.1, "rotate": False, **values})
    task = Projected(config, filmed[0], frames)
    fit(config, task, filmed[0], frames, schedule=Schedule(steps, 0.01), folder=folder, key="k", seed=[0, 1, 0])
    return config, task.model.eval()


class Wrong:
    """Frames of which a share of the depth is another one."""

    def __init__(self, frames, share):
        self.frames, self.share, self.tolerance = frames, share, frames.tolerance

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, k):
        frame, generator = self.frames[k], np.random.default_rng(k)
        wrong = generator.random(frame.depth.shape) < self.share
        depth = np.where(wrong, generator.uniform(0.2, 4, wrong.shape), frame.depth)
        return replace(frame, depth=depth.astype(np.float32))


def test_visibility_is_learnt_better_than_single_depths_tell_it(filmed, tmp_path):
    rooms, frames = filmed[0], frames_of(filmed)
    wrong = {name: Wrong(of_room, 0.3) for name, of_room in frames.items()}
    config, model = trained(filmed, wrong, tmp_path, 60)
    learnt, told = [], []
    for room in rooms:
        for k in range(0, len(frames[room.name]), 4):
            true = sight_of(room, frames[room.name][k], frames[room.name].tolerance)
            given = sight_of(room, wrong[room.name][k], frames[room.name].tolerance)
            seen = together([true], [0], config.visibility_cell, "auto")
            with torch.no_grad():
                scores = seen.batch.at_points(model.observer(seen.batch.voxels)[1]).squeeze(1)
            learnt.append((scores.numpy() > 0) == true.shown)
            told.append(given.shown == true.shown)
    learnt, told = np.concatenate(learnt).mean(), np.concatenate(told).mean()
    assert learnt > told + 0.03, (learnt, told)


def test_points_learn_from_images_alone(filmed, tmp_path):
    rooms = filmed[0]
    config, model = trained(filmed, frames_of(filmed, 1.0), tmp_path, 80)
    right = []
    for room in rooms:
        said = predict(config, room, model, None).probabilities.argmax(1).numpy()
        right.append((said == room.labels)[room.labels != IGNORE])
    most = max(np.bincount(room.labels[room.labels >= 0]).max() / (room.labels >= 0).sum() for room in rooms)
    assert np.concatenate(right).mean() > 0.75 > most + 0.25


def test_a_whole_run(frames, scenes):
    config = tiny_experiment("joint", **LEARNT, data_root="rooms", images_share=0.3)
    (done,) = run_method(config, scenes)
    modes = read_json(done.evaluation, "metrics.json")["splits"]["val"]["modes"]
    assert set(modes) == {"point", "sv"}
    (again,) = run_method(config, scenes)
    assert again.unet.path == done.unet.path and again.unet.key == done.unet.key
    other = tiny_experiment("other", **LEARNT, data_root="rooms", images_share=0.3, visibility_weight=2.0)
    clicks = Stages(other, scenes).clicks()
    assert Stages(other, scenes).train("unet", 1, clicks).key != done.unet.key
    relabelled = replace(clicks, name="pseudo_1")
    with pytest.raises(OtocError, match="stage pseudo_1: its labels are not images"):
        Stages(config, scenes).frames_of(relabelled)


def test_it_learns_in_images_alone():
    with pytest.raises(OtocError, match="'method: gpfn' learns in labelled images, so it needs 'source: images'"):
        tiny_config(method="gpfn")
