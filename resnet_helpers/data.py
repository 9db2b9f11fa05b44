"""Fashion-MNIST: the bundled subset, the full set, and batches served from memory.

For all who train or show images. Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image
Dataset for Benchmarking Machine Learning Algorithms" (2017): 60,000 training and 10,000 test images
of 28 x 28 grey pixels in 10 classes.
"""

import contextlib
import copy
import gzip
import hashlib
import zlib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from resnet_helpers.errors import GET_ASSETS_AGAIN, DatasetUnavailableError
from resnet_helpers.runs.files import refuse_special

FASHION_MNIST_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat",
                         "sandal", "shirt", "sneaker", "bag", "ankle boot")

# SHA-256 of the decompressed files: Debian compresses them in another way than the official server
IDX_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TIMEOUT_S = 30  # for a server that has stopped answering
LOCK_TIMEOUT_S = 600  # for another process that downloads
WHOLE_NUMBERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


class FashionMNIST(NamedTuple):
    """Images as uint8 tensors (n, 28, 28), labels as int64 tensors (n,)."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


class ImageBatches:
    """Batches X (batch, 1, height, width), float32, and y (batch,), int64, of images in memory.

    Each batch is cast, scaled to [0, 1] and resized when it is asked for, on the device the images
    are on: memory does not grow with `resize`, and no worker process is needed. The values are
    those of torchvision's `Resize` (bilinear, antialiased, rounded to 8 bits) and `ToTensor`.
    `len()` is the number of batches; the last one may be smaller.

    Args:
        images: uint8 tensor (n, height, width).
        labels: tensor (n,) of whole numbers.
        batch_size: at least 1.
        shuffle: draw a new order for each pass.
        resize: side length in pixels, or (height, width); None keeps the size.
        device: where the images are kept and the batches are made; None keeps them where they are.
        generator: a CPU `torch.Generator` for order, flips and shifts; None means torch's own.
        flip: mirror each image left to right with a probability of one half.
        shift: move each image, before it is resized, by up to so many pixels up or down and left
            or right; black comes in from outside.
        mean, std: subtract and divide by these in the end, both on the scale from 0 to 1.

    Raises:
        ValueError: a number out of range, or images and labels of different number or type.
    """

    def __init__(self, images, labels, batch_size, shuffle=False, resize=None, device=None,
                 generator=None, *, flip=False, shift=0, mean=0.0, std=1.0):
        _expect_images_with_labels(images, labels)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if shift < 0 or not std > 0:
            raise ValueError(f"shift must be at least 0 and std above 0, got {shift} and {std}")
        self.images = images.to(device)
        self.labels = labels.to(device, torch.int64)
        self.size = _height_and_width(resize)
        self.batch_size, self.shuffle, self.generator = batch_size, shuffle, generator
        self.flip, self.shift, self.mean, self.std = flip, shift, mean, std
        self.rank, self.world_size = 0, 1

    @property
    def dataset(self):
        """The images (height, width), as bytes, and their labels, as a data set with a length."""
        return torch.utils.data.TensorDataset(self.images, self.labels)

    def to(self, device):
        """The same batches, in the same order, from images kept on `device`."""
        moved = copy.copy(self)
        moved.images, moved.labels = self.images.to(device), self.labels.to(device)
        return moved

    def share(self, rank, world_size):
        """Of each batch the part of process number `rank`, from 0, of `world_size` processes.

        All processes must have the same seed. For training (`shuffle`) they get equally many
        images: what is over in the last batch is left out, and a last batch of fewer than two each.
        For testing each image goes to one process, and a part may be empty.

        Raises:
            ValueError: batches cannot be divided evenly, or give fewer than two images to each.
        """
        if world_size == 1:
            return self
        size = self.batch_size
        if self.shuffle and (size % world_size or size < 2 * world_size):
            fitting = max(2, size // world_size) * world_size
            raise ValueError(
                f"batches of {size} cannot be shared evenly by {world_size} processes, with two "
                f"images for each at least: take batches of {fitting} or {fitting + world_size}")
        part = copy.copy(self)
        part.rank, part.world_size = rank, world_size
        return part

    def __len__(self):
        whole, rest = divmod(len(self.images), self.batch_size)
        if self.shuffle and self.world_size > 1:
            return whole + (rest >= 2 * self.world_size)
        return whole + (rest > 0)

    def __iter__(self):
        n, device = len(self.images), self.images.device
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        order = order.to(device)
        moves = [numbers.to(device) for numbers in self._draw_moves(n)]
        for i in range(len(self)):
            part = self._part_of_batch(i)
            indices = order[part]
            X = move_images(self.images[indices], *(numbers[part] for numbers in moves))
            X = scale_images(X, self.size)
            if (self.mean, self.std) != (0, 1):
                X = X.sub_(self.mean).div_(self.std)
            yield X, self.labels[indices]

    def _draw_moves(self, n):
        """Random arguments of `move_images` for n images; none if they are to stay as they are."""
        if not (self.flip or self.shift):
            return ()
        flips = torch.zeros(n, dtype=torch.bool)
        if self.flip:
            flips = torch.rand(n, generator=self.generator) < 0.5
        shifts = torch.randint(-self.shift, self.shift + 1, (2, n), generator=self.generator)
        return flips, *shifts

    def _part_of_batch(self, i):
        """Where in the order this process finds its images for batch i."""
        begin = i * self.batch_size
        end = min(begin + self.batch_size, len(self.images))
        if self.shuffle:
            end -= (end - begin) % self.world_size
        return slice(begin + self.rank, end, self.world_size)


def _expect_images_with_labels(images, labels):
    if images.dtype != torch.uint8 or images.dim() != 3 or not 0 < len(images) == len(labels):
        raise ValueError(
            f"expected uint8 images (n, height, width) and as many labels, at least one; got "
            f"{images.dtype} {tuple(images.shape)} and {len(labels)} labels")
    if labels.dtype not in WHOLE_NUMBERS or labels.dim() != 1:
        raise ValueError(
            f"expected labels as an int64 tensor (n,), a whole number for each image; got "
            f"{labels.dtype} {tuple(labels.shape)}. labels.long() turns 3.0 into 3, and "
            f"labels.argmax(1) one-hot rows into numbers")


def _height_and_width(resize):
    if resize is None:
        return None
    size = (resize, resize) if np.ndim(resize) == 0 else tuple(resize)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"resize must be a side length or (height, width), got {resize!r}")
    return torch.Size(size)


def move_images(images, flips=None, down=None, right=None):
    """Mirror and shift images, each by numbers of its own.

    Args:
        images: uint8 (n, H, W).
        flips: bool (n,), which to mirror left to right; None leaves all images as they are.
        down, right: int64 (n,), by how many pixels to move each after that; up, left if negative.

    Returns:
        uint8 (n, H, W); what comes in from outside is 0.
    """
    if flips is None:
        return images
    _, height, width = images.shape
    number, row, column = (torch.arange(length, device=images.device) for length in images.shape)
    rows = row - down[:, None]  # (n, H): where each pixel comes from
    columns = column - right[:, None]  # (n, W)
    row_is_inside = (rows >= 0) & (rows < height)
    column_is_inside = (columns >= 0) & (columns < width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns).clamp(0, width - 1)
    rows = rows.clamp(0, height - 1)
    moved = images[number[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.mul_(row_is_inside[:, :, None] & column_is_inside[:, None, :])


def scale_images(images, size=None):
    """Turn uint8 images (n, H, W) into float32 (n, 1, H', W') in [0, 1], of `size` = (H', W')."""
    X = images.unsqueeze(1).float()
    if size is not None and size != X.shape[-2:]:
        X = _resize(X, size).round_()  # an image of 8 bits stays one, as with PIL
    return X.div_(255)


def _resize(X, size):
    try:
        return F.interpolate(X, size=size, mode="bilinear", align_corners=False, antialias=True)
    except NotImplementedError:  # on Apple's GPUs before PyTorch 2.7
        if X.device.type == "cpu":
            raise
        return _resize(X.cpu(), size).to(X.device)


def load_data_fashion_mnist(batch_size, resize=None, *, subset=False, root=None, device=None,
                            generator=None):
    """Fashion-MNIST as two iterables of (X, y) batches: training (shuffled) and test.

    Args:
        batch_size: images in a batch.
        resize: side length in pixels, for example 96; None keeps 28.
        subset: use the 6,000 + 1,000 images that come with this package, not all 70,000.
        root: folder with the four official files; None looks where `load_fashion_mnist` does.
        device: keep the images there, for example "cuda"; None means the CPU.
        generator: a CPU `torch.Generator` for the training images' order; None means torch's own.

    Returns:
        (train_iter, test_iter), two `ImageBatches`; of the full set, 235 and 40 batches of 256.

    Raises:
        DatasetUnavailableError: the full set is not here and could not be downloaded.
        ValueError: both `subset` and `root`.
    """
    if subset and root is not None:
        raise ValueError("subset=True takes the package's own images; leave out root, or subset")
    data = load_fashion_mnist_subset() if subset else load_fashion_mnist(root)
    train_iter = ImageBatches(data.train_images, data.train_labels, batch_size, True, resize,
                              device, generator)
    test_iter = ImageBatches(data.test_images, data.test_labels, batch_size, False, resize, device)
    return train_iter, test_iter


def get_fashion_mnist_labels(labels):
    """Class names for numeric labels: `[0, 9]` gives `['t-shirt', 'ankle boot']`."""
    return [FASHION_MNIST_CLASSES[int(i)] for i in labels]


def load_fashion_mnist_subset():
    """The class-balanced subset that comes with the package: 6,000 training and 1,000 test images.

    They are the first of each class in the official files; the archive holds their indices, too.

    Raises:
        DatasetUnavailableError: the archive is missing or damaged.
    """
    archive = resources.files(__package__).joinpath("assets/fashion_mnist_subset.npz")
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in FashionMNIST._fields}
    except Exception as error:  # half a dozen types, by where the damage is
        raise DatasetUnavailableError(
            f"{archive}, the images that come with this package, cannot be read "
            f"({type(error).__name__}: {error}). Get that file again: {GET_ASSETS_AGAIN}") from None
    return FashionMNIST(tensors["train_images"], tensors["train_labels"].long(),
                        tensors["test_images"], tensors["test_labels"].long())


# --- the four official files ---

def load_fashion_mnist(root=None):
    """The full data set: 60,000 training and 10,000 test images, checked by their checksums.

    Looked for in this order: `root`, if given, and nowhere else; the cache in the user's data
    folder; Debian's package dataset-fashion-mnist; then downloaded into the cache. The files may be
    compressed (.gz) or not, in the folder itself or where torchvision puts them (FashionMNIST/raw).

    Raises:
        DatasetUnavailableError: no place has it, and it could not be downloaded or not be kept; or
            a file in `root` is missing or damaged. Damaged files in the cache are fetched again.
    """
    if root is not None:
        return _read_folder(Path(root).expanduser())
    for folder in (cache_folder(), DEBIAN_FOLDER):
        with contextlib.suppress(DatasetUnavailableError):
            return _read_folder(folder)
    _download(cache_folder())
    return _read_folder(cache_folder())


def cache_folder():
    """Folder of downloaded files: `resnet_helpers/fashion-mnist` in the user's data folder."""
    import platformdirs  # here, for a quick import of the package
    return platformdirs.user_data_path("resnet_helpers", appauthor=False) / "fashion-mnist"


def _read_folder(folder):
    return FashionMNIST(*(_parse_idx(_find_official(folder, name)) for name in IDX_FILES))


def _find_official(folder, name):
    """Content of an official file, wherever it is whole below a folder."""
    problem = f"no file {name} or {name}.gz in {folder}"
    for place in (folder, folder / "FashionMNIST" / "raw", folder / "raw"):
        for path in (place / name, place / f"{name}.gz"):
            try:
                return _read_official(path, name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, EOFError, ValueError, zlib.error) as error:
                problem = f"{path} is damaged or cannot be read: {error}"
    raise _unavailable(
        problem,
        "Put the whole file there, or name another folder with the four files of Fashion-MNIST: "
        "load_data_fashion_mnist(..., root=FOLDER).",
        "Leave `root` out to have them looked for and downloaded: 30 MB, once.")


def _read_official(path, name):
    """Content of a file, decompressed; ValueError if it is not that of the official `name`."""
    refuse_special(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if hashlib.sha256(content).hexdigest() != IDX_FILES[name]:
        raise ValueError(f"its content is not that of Fashion-MNIST's {name}")
    return content


def _parse_idx(content):
    """An official file as a tensor: images (n, 28, 28) uint8 or labels (n,) int64."""
    num_dims = content[3]  # after two zero bytes and the type
    shape = np.frombuffer(content, ">u4", count=num_dims, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * num_dims).reshape(shape)
    return torch.tensor(values, dtype=torch.uint8 if num_dims == 3 else torch.int64)


def _download(folder):
    """Fetch what is missing or damaged in `folder`, one process at a time."""
    import filelock
    from torchvision.datasets import FashionMNIST as Source
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "download.lock", timeout=LOCK_TIMEOUT_S):
            for filename, md5 in Source.resources:
                try:  # another process may have been faster
                    _find_official(folder, filename.removesuffix(".gz"))
                except DatasetUnavailableError:
                    _download_file(Source.mirrors, filename, md5, folder)
        return
    except filelock.Timeout:
        problem = f"is still being downloaded into {folder} by another program"
        way = "Wait for that program, or end it (another notebook's kernel?), and run this again."
    except ConnectionError as error:
        problem = f"could not be downloaded: {error}"
        way = "Connect to the network and run this again: 30 MB, once."
    except (OSError, NotImplementedError) as error:  # the latter where a disk has no locks
        problem = f"could not be kept in {folder}: {error}"
        way = "Make that a folder you can write to, with 30 MB free, and run this again."
    raise _unavailable(
        f"the full Fashion-MNIST is not on this machine, or not whole, and {problem}", way,
        "Get the four files another way and name their folder: "
        "load_data_fashion_mnist(..., root=FOLDER).\n"
        "     On Debian and Ubuntu `apt-get install dataset-fashion-mnist` is enough: then leave "
        "root out.")


def _download_file(mirrors, filename, md5, folder):
    """Fetch a file from the first mirror that has it whole.

    Raises:
        ConnectionError: no mirror gave it; says why, mirror by mirror.
        OSError: the file cannot be written.
    """
    import pooch
    import requests
    (folder / filename).unlink(missing_ok=True)  # it is damaged
    downloader = pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=TIMEOUT_S)
    problems = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + filename, f"md5:{md5}", filename, folder, downloader=downloader)
            (folder / filename).chmod(0o644)  # pooch keeps it for its owner; classes share folders
            return
        except requests.RequestException as error:
            problems.append(f"{mirror}{filename}: {error}")
        except ValueError:  # pooch has found another checksum
            problems.append(f"{mirror}{filename}: what came is not that file, or not all of it "
                            f"(a proxy or sign-in page? Then sign in with a browser)")
    raise ConnectionError("; ".join(problems))


def _unavailable(problem, *ways):
    """The error to raise: what is wrong, and the ways out, the last of which is always open."""
    ways += ("Use the 7,000 images that came with this package: "
             "load_data_fashion_mnist(..., subset=True).",)
    numbered = "\n".join(f"  {i}. {way}" for i, way in enumerate(ways, 1))
    return DatasetUnavailableError(f"{problem}.\nAny one of these helps:\n{numbered}")
