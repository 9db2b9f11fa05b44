"""Fashion-MNIST: the bundled subset, batches from memory, and where the full set is found.

test_data_faults.py has what goes wrong with the full set and its download.
"""

import gzip
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from mirror import DEAD, Mirror, assert_is, damage, serving, use_mirrors, web_page, write
from PIL import Image
from torchvision import transforms

import resnet_helpers as d2l
from resnet_helpers import data
from resnet_helpers.data import DatasetUnavailableError, ImageBatches, move_images

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from make_subset import make_subset  # noqa: E402

ASSETS = resources.files("resnet_helpers") / "assets"
ARCHIVE = ASSETS / "fashion_mnist_subset.npz"


@pytest.fixture(scope="module")
def full():
    if not data.DEBIAN_FOLDER.is_dir():
        pytest.skip("the full Fashion-MNIST is missing (apt-get install dataset-fashion-mnist)")
    return d2l.load_fashion_mnist(data.DEBIAN_FOLDER)


# --- the bundled subset ---

def test_subset_is_balanced_and_small_and_has_a_licence():
    subset = d2l.load_fashion_mnist_subset()
    assert subset.train_images.shape == (6000, 28, 28)
    assert subset.test_images.shape == (1000, 28, 28)
    assert subset.train_images.dtype == torch.uint8 and subset.train_labels.dtype == torch.int64
    assert subset.train_labels.bincount().tolist() == [600] * 10
    assert subset.test_labels.bincount().tolist() == [100] * 10
    assert len(ARCHIVE.read_bytes()) < 4e6
    licence = (ASSETS / "FASHION_MNIST_LICENSE.txt").read_text(encoding="utf-8")
    assert "Zalando" in licence and "Permission is hereby granted" in licence


def test_subset_from_a_folder_is_refused():
    with pytest.raises(ValueError, match="leave out root"):
        d2l.load_data_fashion_mnist(64, subset=True, root="somewhere")


def test_subset_is_the_official_set_image_by_image_and_can_be_made_again(full):
    made = make_subset(full)
    with ARCHIVE.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        assert made.keys() == set(arrays.files)
        assert all(np.array_equal(made[name], arrays[name]) for name in made)
        for split in ("train", "test"):
            indices = arrays[f"{split}_indices"].astype(np.int64)
            assert len(set(indices.tolist())) == len(indices)
            for kind in ("images", "labels"):
                official = getattr(full, f"{split}_{kind}").numpy()[indices]
                assert np.array_equal(arrays[f"{split}_{kind}"], official)


@pytest.mark.parametrize("how", ["missing", "empty", "not gzip", "half", "altered"])
def test_damaged_images_of_the_package_are_told_with_what_to_do(tmp_path, monkeypatch, how):
    content, archive = ARCHIVE.read_bytes(), tmp_path / "assets/fashion_mnist_subset.npz"
    archive.parent.mkdir()
    middle = len(content) // 2
    if how == "half":
        archive.write_bytes(content[:middle])
    elif how == "altered":
        archive.write_bytes(damage(content[:middle], how) + content[middle:])
    elif how != "missing":
        archive.write_bytes(damage(content, how))
    monkeypatch.setattr(data.resources, "files", lambda package: tmp_path)
    with pytest.raises(DatasetUnavailableError, match="Get that file again: `git checkout"):
        d2l.load_data_fashion_mnist(256, subset=True)


# --- batches ---

def test_full_set_in_batches_as_in_the_article(full):
    train_iter, test_iter = d2l.load_data_fashion_mnist(256, root=data.DEBIAN_FOLDER)
    assert (len(train_iter), len(test_iter)) == (235, 40)
    *_, (X, y) = train_iter
    assert X.shape == (60000 - 234 * 256, 1, 28, 28) and y.shape == X.shape[:1]


def test_batches_are_float_images_and_whole_labels_of_a_data_set_with_a_length():
    train_iter, test_iter = d2l.load_data_fashion_mnist(256, subset=True)
    assert (len(train_iter), len(test_iter)) == (24, 4)
    X, y = next(iter(train_iter))
    assert X.dtype == torch.float32 and y.dtype == torch.int64
    assert 0 <= X.min() and 0.99 < X.max() <= 1
    assert (len(train_iter.dataset), len(test_iter.dataset)) == (6000, 1000)
    image, label = test_iter.dataset[3]
    assert image.shape == (28, 28) and int(label) == int(test_iter.labels[3])


@pytest.mark.parametrize("resize", [None, 14, 32, 96, (20, 30)])
def test_values_are_those_of_torchvisions_resize_and_totensor(resize):
    images = d2l.load_fashion_mnist_subset().train_images[:50]
    steps = [transforms.Resize(resize)] if resize else []
    transform = transforms.Compose([*steps, transforms.ToTensor()])
    reference = torch.stack([transform(Image.fromarray(image.numpy())) for image in images])
    X, _ = next(iter(ImageBatches(images, torch.arange(50), 50, resize=resize)))
    assert X.shape == reference.shape
    assert (X - reference).abs().max() <= 1 / 255 + 1e-6


class OnApplesGpu:
    """Images on a device that cannot resize them."""

    def __init__(self, X):
        self.X, self.device = X, torch.device("meta")

    def cpu(self):
        return self.X


def test_what_a_gpu_cannot_resize_is_resized_on_the_cpu(monkeypatch):
    interpolate = data.F.interpolate

    def as_before_pytorch_2_7(X, **kwargs):
        if isinstance(X, OnApplesGpu):
            raise NotImplementedError("aten::_upsample_bilinear2d_aa.out")
        return interpolate(X, **kwargs)

    monkeypatch.setattr(data.F, "interpolate", as_before_pytorch_2_7)
    resized = data._resize(OnApplesGpu(torch.zeros(2, 1, 28, 28)), (96, 96))
    assert resized.shape == (2, 1, 96, 96) and resized.device.type == "meta"


def numbered(n, batch_size, **kwargs):
    """Batches of n black images whose labels are 0 .. n - 1."""
    images = torch.zeros(n, 2, 2, dtype=torch.uint8)
    return ImageBatches(images, torch.arange(n), batch_size, **kwargs)


def order(batches):
    return torch.cat([y for _, y in batches]).tolist()


def test_every_example_comes_once_in_an_order_that_changes_and_follows_the_seed():
    batches = numbered(100, 7, shuffle=True)
    torch.manual_seed(1)
    first, second = order(batches), order(batches)
    torch.manual_seed(1)
    assert first == order(batches) != second
    assert sorted(first) == list(range(100)) != first
    assert order(numbered(100, 7)) == list(range(100))


def test_len_is_the_number_of_batches():
    for n, batch_size, length in ((10, 5, 2), (10, 4, 3), (3, 10, 1)):
        batches = numbered(n, batch_size)
        assert len(batches) == length == len(list(batches))


def test_images_are_kept_as_bytes():
    images = torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8)
    batches = ImageBatches(images, torch.arange(10), 5, resize=224)
    next(iter(batches))
    assert batches.images.data_ptr() == images.data_ptr()
    assert batches.to("cpu").images.data_ptr() == images.data_ptr()


def test_labels_have_names():
    names = d2l.get_fashion_mnist_labels(torch.tensor([0, 9, 8]))
    assert names == ["t-shirt", "ankle boot", "bag"]


BLACK = torch.zeros(3, 2, 2, dtype=torch.uint8)
THREE = torch.arange(3)


@pytest.mark.parametrize(("images", "labels", "settings", "message"), [
    (BLACK, THREE, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    (BLACK, THREE, {"resize": 0}, "resize must be"),
    (BLACK, THREE, {"resize": (1, 2, 3)}, "resize must be"),
    (BLACK, THREE, {"shift": -1}, "shift must be at least 0 and std above 0"),
    (BLACK, THREE, {"std": 0}, "shift must be at least 0 and std above 0"),
    (BLACK.float(), THREE, {}, "uint8 images"),
    (BLACK, THREE[:2], {}, "uint8 images"),
    (BLACK[:0], THREE[:0], {}, "uint8 images"),
    (BLACK, torch.zeros(3), {}, r"torch.float32 \(3,\).*labels.long\(\)"),
    (BLACK, torch.eye(3).long(), {}, r"\(3, 3\).*argmax\(1\)"),
    (BLACK, torch.zeros(3, dtype=torch.bool), {}, "torch.bool"),
    (BLACK, np.arange(3), {}, r"int64 tensor .* got int64 \(3,\)")])
def test_impossible_arguments_are_refused(images, labels, settings, message):
    with pytest.raises(ValueError, match=message):
        ImageBatches(images, labels, **{"batch_size": 2, **settings})


def test_whole_numbers_of_any_type_become_int64_labels():
    for dtype in (torch.uint8, torch.int16, torch.int32):
        _, y = next(iter(ImageBatches(BLACK, torch.arange(3, dtype=dtype), 3)))
        assert y.dtype == torch.int64


# --- images that move, and batches that are shared ---

def test_moved_images_are_what_slicing_gives():
    images = torch.arange(2 * 5 * 6, dtype=torch.uint8).reshape(2, 5, 6) + 1
    flips, down, right = torch.tensor([False, True]), torch.tensor([2, -1]), torch.tensor([-1, 3])
    expected = torch.zeros_like(images)
    expected[0, 2:, :5] = images[0, :3, 1:]  # two down, one left
    expected[1, :4, 3:] = images[1].flip(1)[1:, :3]  # mirrored, one up, three right
    assert torch.equal(move_images(images, flips, down, right), expected)


def test_flips_and_shifts_are_drawn_anew_for_each_image_and_follow_the_seed():
    images = torch.zeros(4000, 28, 28, dtype=torch.uint8)
    images[:, 14, 10] = 255
    batches = ImageBatches(images, torch.zeros(4000, dtype=torch.int64), 4000, flip=True, shift=2,
                           generator=torch.Generator().manual_seed(0))
    (X, _), (again, _) = next(iter(batches)), next(iter(batches))
    places = X.flatten(1).argmax(1)
    rows, row_counts = (places // 28).unique(return_counts=True)
    columns, column_counts = (places % 28).unique(return_counts=True)
    assert rows.tolist() == [12, 13, 14, 15, 16]
    assert columns.tolist() == [*range(8, 13), *range(15, 20)]
    assert row_counts.min() > 700 and column_counts.min() > 320  # 800 and 400 expected
    assert not torch.equal(X, again)
    batches.generator.manual_seed(0)
    assert torch.equal(next(iter(batches))[0], X)


def test_mean_and_deviation_are_taken_off():
    X, _ = next(iter(ImageBatches(BLACK + 51, THREE, 3, mean=0.1, std=0.5)))
    assert torch.allclose(X, torch.tensor((51 / 255 - 0.1) / 0.5))


@pytest.mark.parametrize(("n", "world_size"), [(24, 2), (29, 2), (27, 3), (32, 4), (24, 1)])
def test_parts_of_a_batch_make_up_the_batch(n, world_size):
    def batches():
        return numbered(n, 12, shuffle=True, generator=torch.Generator().manual_seed(0))

    whole = [y.tolist() for _, y in batches()]
    parts = [[y.tolist() for _, y in batches().share(rank, world_size)]
             for rank in range(world_size)]
    assert [len(part) for part in parts] == [len(batches().share(0, world_size))] * world_size
    for i, batch in enumerate(zip(*parts, strict=True)):
        assert len({len(part) for part in batch}) == 1  # all of one size
        together = {label for part in batch for label in part}
        assert len(together) == sum(map(len, batch)) and together <= set(whole[i])
        assert len(whole[i]) - len(together) < world_size
    left_out = whole[len(parts[0]):]
    assert all(len(batch) < 2 * world_size for batch in left_out) and len(left_out) <= 1


def test_each_test_image_goes_to_one_process():
    parts = [[y.tolist() for _, y in numbered(25, 12).share(rank, 3)] for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3] and parts[1][-1] == []
    assert sorted(label for part in parts for batch in part for label in batch) == list(range(25))


def test_batches_that_cannot_be_shared_are_refused_with_those_that_can():
    for batch_size, world_size, advice in ((100, 3, "99 or 102"), (4, 4, "8 or 12")):
        with pytest.raises(ValueError, match=advice):
            numbered(200, batch_size, shuffle=True).share(0, world_size)


# --- where the full set is found (the fixture idx: a small set in the place of the official) ---

@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw", "raw"])
@pytest.mark.parametrize("compress", [False, True])
def test_folder_is_read_in_every_usual_layout(idx, tmp_path, layout, compress):
    write(tmp_path / "with spaces and ü" / layout, idx, compress)
    assert_is(d2l.load_fashion_mnist(tmp_path / "with spaces and ü"), idx)


def test_named_folder_is_looked_at_alone(idx, tmp_path):
    write(tmp_path / "cache", idx, True)
    with pytest.raises(DatasetUnavailableError, match="no file train-images-idx3-ubyte"):
        d2l.load_fashion_mnist(tmp_path / "elsewhere")


def test_cache_and_debians_folder_come_before_the_network(idx, tmp_path, monkeypatch):
    use_mirrors(monkeypatch, [DEAD], [])
    write(tmp_path / "debian", idx, True)
    assert_is(d2l.load_fashion_mnist(), idx)
    write(tmp_path / "cache", idx, True)
    write(tmp_path / "debian", {name: b"damaged" for name in idx}, True)
    assert_is(d2l.load_fashion_mnist(), idx)


def test_download_fills_the_cache_once_from_the_first_mirror_that_works(
        idx, tmp_path, monkeypatch):
    with serving(Mirror(idx, web_page)) as wrong, serving(Mirror(idx)) as mirror:
        use_mirrors(monkeypatch, [DEAD, wrong.url, mirror.url], mirror.resources)
        assert_is(d2l.load_fashion_mnist(), idx)
        assert_is(d2l.load_fashion_mnist(), idx)
        assert mirror.downloaded_once() == set(mirror.files)
    for name in idx:
        assert gzip.decompress((tmp_path / "cache" / f"{name}.gz").read_bytes()) == idx[name]


def test_no_network_names_the_three_ways_out(idx, monkeypatch):
    use_mirrors(monkeypatch, [DEAD], [("train-images-idx3-ubyte.gz", "0" * 32)])
    with pytest.raises(DatasetUnavailableError, match="could not be downloaded") as error:
        d2l.load_data_fashion_mnist(256)
    shown = "\n".join(error.value._render_traceback_())  # what a notebook shows
    assert shown.count("\n") < 10
    for way in ("Connect to the network", "root=FOLDER", "subset=True"):
        assert way in shown
