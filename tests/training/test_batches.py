"""The batches of training: functions of seed, epoch and step, however they are divided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ddeep.data.images import FileImages, TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import DdeepError
from ddeep.training.batches import Shuffled, generator
from ddeep.training.recipe import Recipe


def _tagged(count: int) -> TensorImages:
    """Images whose pixels tell their index, alike under crop and flip."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3)
    return TensorImages.of(pixels, torch.arange(count) % 3, ["a", "b", "c"])


def _raw(size: int = 4) -> Preprocessing:
    """Pixels / 255 and nothing else."""
    return Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size, size)


def _recipe(**changes: object) -> Recipe:
    return Recipe(**{"epochs": 2, "lr": 0.1, "batch_size": 12, "crop_padding": 0, "flip": False, **changes})  # type: ignore[arg-type]


def _indices(part: torch.Tensor) -> list[int]:
    return (part[:, 0, 0, 0] * 255).round().long().tolist()


def test_an_epoch_is_a_permutation_and_labels_go_with_their_images() -> None:
    data = Shuffled(_tagged(60), _raw(), _recipe(), seed=3, device=torch.device("cpu"))
    assert data.steps == 5
    seen = []
    for step in data.epoch(0):
        ((images, labels),) = step
        assert labels.tolist() == [index % 3 for index in _indices(images)]
        seen += _indices(images)
    assert sorted(seen) == list(range(60))
    again = [index for ((images, _),) in data.epoch(0) for index in _indices(images)]
    other_epoch = [index for ((images, _),) in data.epoch(1) for index in _indices(images)]
    assert again == seen
    assert other_epoch != seen
    assert sorted(other_epoch) == sorted(seen)


def test_images_that_do_not_fill_a_batch_are_left_out() -> None:
    data = Shuffled(_tagged(31), _raw(), _recipe(), seed=0, device=torch.device("cpu"))
    assert data.steps == 2
    assert len({index for ((images, _),) in data.epoch(0) for index in _indices(images)}) == 24


def test_an_epoch_can_be_entered_at_any_step() -> None:
    data = Shuffled(_tagged(60), _raw(), _recipe(crop_padding=2, flip=True), seed=3, device=torch.device("cpu"))
    whole = list(data.epoch(1))
    for start in (0, 1, 4, 5):
        rest = list(data.epoch(1, start))
        assert len(rest) == 5 - start
        for (one,), (other,) in zip(rest, whole[start:], strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(("world", "accumulate"), [(1, 3), (2, 1), (2, 3), (4, 1)])
def test_processes_and_parts_divide_the_same_augmented_batches(world: int, accumulate: int) -> None:
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 4, 4, 3), dtype=torch.uint8, generator=source)
    images = TensorImages.of(pixels, torch.arange(60) % 3, ["a", "b", "c"])
    whole = Shuffled(images, _raw(), _recipe(crop_padding=2, flip=True), 7, torch.device("cpu"))
    recipe = _recipe(crop_padding=2, flip=True, accumulate=accumulate)
    shares = [Shuffled(images, _raw(), recipe, 7, torch.device("cpu"), rank, world) for rank in range(world)]
    epochs = [list(share.epoch(0)) for share in shares]
    for step, ((expected, labels),) in enumerate(whole.epoch(0)):
        parts = [part for epoch in epochs for part in epoch[step]]
        assert len(parts) == world * accumulate
        together = torch.cat([part for part, _ in parts])
        order = [
            position
            for rank in range(world)
            for i in range(accumulate)
            for position in range(rank + i * world, 12, world * accumulate)
        ]
        assert torch.equal(together, expected[order])
        assert torch.equal(torch.cat([part for _, part in parts]), labels[order])


def test_a_batch_that_cannot_be_divided_evenly_is_refused() -> None:
    with pytest.raises(DdeepError, match="multiple of 5"):
        Shuffled(_tagged(60), _raw(), _recipe(accumulate=5), 0, torch.device("cpu"))


def test_files_train_like_the_same_images_in_memory(tmp_path: Path) -> None:
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 8, 8, 3), dtype=torch.uint8, generator=source)
    labels = torch.arange(12) % 2
    files = [tmp_path / f"{index}.png" for index in range(12)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image.numpy()).save(file)
    memory = TensorImages.of(pixels, labels, ["a", "b"])
    disk = FileImages(files, labels, ("a", "b"))
    recipe = _recipe(batch_size=4, accumulate=2, crop_padding=1, flip=True)
    batches = [
        [part for step in Shuffled(images, _raw(8), recipe, 5, torch.device("cpu")).epoch(0) for part in step]
        for images in (memory, disk)
    ]
    assert len(batches[0]) == 6
    for (one, its), (other, others) in zip(*batches, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(its, others)


def test_a_file_that_does_not_decode_stops_training_and_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"not a picture")
    images = FileImages([bad, bad], torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(DdeepError, match=r"broken\.png"):
        list(Shuffled(images, _raw(8), _recipe(batch_size=2), 0, torch.device("cpu")).epoch(0))


def test_generators_differ_by_every_part_of_the_position() -> None:
    draws = {
        int(torch.randint(0, 2**62, (1,), generator=generator(*position)))
        for position in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0), (1, 0)]
    }
    assert len(draws) == 6


def test_a_generator_is_the_same_everywhere() -> None:
    """A change here changes every training run. numpy promises that its SeedSequence never does."""
    assert generator(0, 1, 2).initial_seed() == 0x8056E70D3C985BDC
