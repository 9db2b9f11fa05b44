"""Fashion-MNIST: the bundled subset, the full set, and batches served from memory.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms" (2017). 60,000 training and 10,000 test images of 28 x 28 grey pixels in 10 classes.
"""

import contextlib
import copy
import errno
import gzip
import hashlib
import http.client
import itertools
import math
import os
import stat
import time
import urllib.error
import urllib.request
import zlib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from resnet_helpers.errors import GET_ASSETS_AGAIN, DatasetUnavailableError

FASHION_MNIST_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat",
                         "sandal", "shirt", "sneaker", "bag", "ankle boot")

# The four official files in the IDX format: (bytes, SHA-256) of the decompressed content. Debian's package
# and the official server compress the same content differently, so a checksum of the .gz would not do.
IDX_FILES = {
    "train-images-idx3-ubyte": (47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DOWNLOAD_TIMEOUT_S, DOWNLOAD_DEADLINE_S = 30, 1800  # without an answer; for a file
LOCK_TIMEOUT_S = 600  # for another process to download it
DISK_ERRORS = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a write failed, not the network
WHOLE_NUMBERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


class FashionMNIST(NamedTuple):
    """Images as uint8 tensors (n, 28, 28), labels as int64 tensors (n,)."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


class ImageBatches:
    """Batches (X, y) of images that stay in memory as uint8; a new order each epoch if `shuffle`.

    Each batch is cast, scaled to [0, 1] and resized when it is asked for, on the device the images are on:
    memory does not grow with `resize`, and no worker process is needed. The values are those of torchvision's
    `Resize` (bilinear, antialiased, rounded to 8 bits) followed by `ToTensor`.

    Iterating gives X of shape (batch, 1, height, width), float32, and y of shape (batch,), int64; the last
    batch may be smaller. `len()` is the number of batches. Order, flips and shifts follow `torch.manual_seed`.

    Args:
        images: uint8 tensor (n, height, width).
        labels: tensor (n,) of whole numbers.
        batch_size: at least 1.
        shuffle: draw a new order for each pass.
        resize: side length in pixels, or (height, width); None keeps the size.
        device: where the images are kept and the batches are made; None keeps them where they are.
        generator: a CPU `torch.Generator` for all that is random; None means torch's global one.
        flip: mirror each image left to right with a probability of one half.
        shift: move each image by up to so many pixels, before it is resized, up or down and left or right; black
            comes in from outside.
        mean, std: subtract and divide by these in the end, both on the scale from 0 to 1.

    Raises:
        ValueError: a batch size or resize below 1, a negative shift, or images and labels of different number or type.
    """

    def __init__(self, images, labels, batch_size, shuffle=False, resize=None, device=None,
                 generator=None, *, flip=False, shift=0, mean=0.0, std=1.0):
        if images.dtype != torch.uint8 or images.dim() != 3 or not 0 < len(images) == len(labels):
            raise ValueError(f"expected uint8 images (n, height, width) and as many labels, at least one; got "
                             f"{images.dtype} {tuple(images.shape)} and {len(labels)} labels")
        if labels.dtype not in WHOLE_NUMBERS or labels.dim() != 1:
            raise ValueError(f"expected labels as an int64 tensor (n,), a whole number for each image; got "
                             f"{labels.dtype} {tuple(labels.shape)}. labels.long() turns 3.0 into 3, and "
                             f"labels.argmax(1) one-hot rows into numbers")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if shift < 0 or not std > 0:
            raise ValueError(f"shift must be at least 0 and std above 0, got {shift} and {std}")
        self.size = _pair(resize)
        self.images, self.labels = images.to(device), labels.to(device, torch.int64)
        self.batch_size, self.shuffle, self.generator = batch_size, shuffle, generator
        self.flip, self.shift, self.mean, self.std = flip, shift, mean, std
        self.rank, self.world_size = 0, 1

    @property
    def dataset(self):
        """The images (height, width), as bytes, and their labels, as a data set with a length."""
        return torch.utils.data.TensorDataset(self.images, self.labels)

    def to(self, device):
        """The same batches, in the same order, from images kept on `device`."""
        if self.images.device == torch.device(device):
            return self
        moved = copy.copy(self)
        moved.images, moved.labels = self.images.to(device), self.labels.to(device)
        return moved

    def share(self, rank, world_size):
        """Batches in which each of several processes finds its own part of every batch of these.

        All processes must have the same seed; then the parts of a batch are those of one and the same batch. A
        training process (`shuffle`) gets as many images as any other: up to `world_size - 1` images that are over in
        the last batch are left out, and a last batch of fewer than two each. For testing each image goes to one
        process, and a part may be empty.

        Args:
            rank: number of the process, from 0.
            world_size: how many there are.

        Raises:
            ValueError: the batch size cannot be divided evenly, or leaves fewer than two images to each.
        """
        if self.shuffle and (self.batch_size % world_size or self.batch_size < 2 * world_size):
            fitting = max(2, self.batch_size // world_size) * world_size
            raise ValueError(f"batches of {self.batch_size} cannot be shared evenly by {world_size} processes, with "
                             f"two images for each at least: take batches of {fitting} or {fitting + world_size}")
        part = copy.copy(self)
        part.rank, part.world_size = rank, world_size
        return part

    def __len__(self):
        whole, rest = divmod(len(self.images), self.batch_size)
        if self.shuffle and self.world_size > 1:
            return whole + (rest >= 2 * self.world_size)
        return whole + (rest > 0)

    def __iter__(self):
        n = len(self.images)
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        plan = (numbers.to(self.images.device).split(self.batch_size) for numbers in (order, *self._draw_moves(n)))
        for indices, *moves in itertools.islice(zip(*plan, strict=True), len(self)):
            if self.world_size > 1:
                end = len(indices) - len(indices) % self.world_size if self.shuffle else len(indices)
                mine = slice(self.rank, end, self.world_size)
                indices, moves = indices[mine], [numbers[mine] for numbers in moves]
            X = scale_images(move_images(self.images[indices], *moves), self.size)
            yield (X.sub_(self.mean).div_(self.std) if (self.mean, self.std) != (0, 1) else X), self.labels[indices]

    def _draw_moves(self, n):
        """Random arguments of `move_images` for n images; none if they are to stay as they are."""
        if not (self.flip or self.shift):
            return ()
        flips = torch.rand(n, generator=self.generator) < 0.5 if self.flip else torch.zeros(n, dtype=torch.bool)
        shifts = torch.randint(-self.shift, self.shift + 1, (2, n), generator=self.generator)
        return flips, *shifts


def move_images(images, flips=None, down=None, right=None):
    """Mirror and shift images, each by numbers of its own.

    Args:
        images: uint8 (n, H, W).
        flips: bool (n,), which of them to mirror left to right. None means that all stay as they are.
        down, right: int64 (n,), how many pixels to move each, after mirroring; negative is up and left.

    Returns:
        uint8 (n, H, W); what comes in from outside is 0.
    """
    if flips is None:
        return images
    _, height, width = images.shape
    number, row, column = (torch.arange(length, device=images.device) for length in images.shape)
    rows, columns = row - down[:, None], column - right[:, None]  # (n, H) and (n, W): where each pixel comes from
    is_inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    columns = torch.where(flips[:, None], width - 1 - columns, columns).clamp(0, width - 1)
    rows = rows.clamp(0, height - 1)
    return images[number[:, None, None], rows[:, :, None], columns[:, None, :]].mul_(is_inside)


def scale_images(images, size=None):
    """Turn uint8 images (n, H, W) into float32 (n, 1, H', W') in [0, 1], resized to `size` = (H', W')."""
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


def _pair(resize):
    if resize is None:
        return None
    pair = (resize, resize) if np.ndim(resize) == 0 else tuple(resize)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"resize must be a side length in pixels or (height, width), got {resize!r}")
    return torch.Size(pair)


def load_data_fashion_mnist(batch_size, resize=None, *, subset=False, root=None, device=None, generator=None):
    """Fashion-MNIST as two iterables of (X, y) batches: training (shuffled) and test.

    Args:
        batch_size: images in a batch.
        resize: side length in pixels, for example 96; None keeps 28.
        subset: use the 6,000 + 1,000 images that come with this package instead of all 70,000.
        root: folder with the four official files, for the full set; None looks in the places of `load_fashion_mnist`.
        device: keep the images there, for example "cuda"; None means the CPU.
        generator: a CPU `torch.Generator` for the order of the training images; None means torch's global one.

    Returns:
        (train_iter, test_iter), two `ImageBatches`. With the full set and batches of 256 their lengths are
        235 and 40.

    Raises:
        DatasetUnavailableError: the full set is not here and could not be downloaded.
        ValueError: both `subset` and `root`.
    """
    if subset and root is not None:
        raise ValueError("subset=True takes the images that come with the package; leave out root, or subset")
    data = load_fashion_mnist_subset() if subset else load_fashion_mnist(root)
    return (ImageBatches(data.train_images, data.train_labels, batch_size, True, resize, device, generator),
            ImageBatches(data.test_images, data.test_labels, batch_size, False, resize, device))


def get_fashion_mnist_labels(labels):
    """Class names for numeric labels: `[0, 9]` gives `['t-shirt', 'ankle boot']`."""
    return [FASHION_MNIST_CLASSES[int(i)] for i in labels]


def load_fashion_mnist_subset():
    """The class-balanced subset that comes with the package: 6,000 training and 1,000 test images.

    They are the first 600 of each class in the official training file and the first 100 of each class in the
    official test file; the archive also holds their indices there.

    Raises:
        DatasetUnavailableError: the archive is missing or damaged.
    """
    archive = resources.files(__package__).joinpath("assets/fashion_mnist_subset.npz")
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return FashionMNIST(*(torch.from_numpy(arrays[name]).to(dtype) for name, dtype in zip(
                FashionMNIST._fields, 2 * (torch.uint8, torch.int64), strict=True)))
    except Exception as error:  # half a dozen types, by where the damage is; each array has a checksum
        raise DatasetUnavailableError(
            f"{archive}, the images that come with this package, cannot be read ({type(error).__name__}: {error}). "
            f"Get that file again: {GET_ASSETS_AGAIN}") from None


def load_fashion_mnist(root=None):
    """The full data set: 60,000 training and 10,000 test images, checked against known checksums.

    Looked for in this order: `root`, if given, and nowhere else; the cache in the user's data folder; Debian's
    package dataset-fashion-mnist; then downloaded into the cache by torchvision. The files may be compressed
    (.gz) or not, in the folder itself or where torchvision puts them (FashionMNIST/raw).

    Raises:
        DatasetUnavailableError: no place has it, and it could not be downloaded or not be kept; or a file in `root`
            is missing, damaged or unreadable. Damaged files in the cache are fetched again.
    """
    if root is not None:
        return _read_folder(Path(root).expanduser())
    for folder in (cache_folder(), DEBIAN_FOLDER):
        with contextlib.suppress(DatasetUnavailableError):
            return _read_folder(folder)
    return _download(cache_folder())


def cache_folder():
    """Folder of downloaded files: `resnet_helpers/fashion-mnist` in the user's data folder."""
    import platformdirs  # here, for a quick import of the package
    return platformdirs.user_data_path("resnet_helpers", appauthor=False) / "fashion-mnist"


def _unavailable(problem, *ways):
    """The error to raise: what is wrong, and the ways out, the last of which is always open."""
    ways += ("Use the 7,000 images that came with this package: load_data_fashion_mnist(..., subset=True).",)
    numbered = "\n".join(f"  {i}. {way}" for i, way in enumerate(ways, 1))
    return DatasetUnavailableError(f"{problem}.\nAny one of these helps:\n{numbered}")


def _read_folder(folder):
    return FashionMNIST(*(_parse_idx(_read_checked(folder, name)) for name in IDX_FILES))


def _read_checked(folder, name):
    """Content of one official file below `folder`, checked; DatasetUnavailableError says what is wrong.

    What is damaged in one of the usual places does not hide a whole file in another.
    """
    problems = []
    for place in (folder, folder / "FashionMNIST" / "raw", folder / "raw"):
        for path in (place / name, place / f"{name}.gz"):
            try:
                content = _read_official(path, name)
            except (FileNotFoundError, NotADirectoryError):
                if path.is_symlink():
                    problems.append(f"{path} is a link to a file that is not there")
            except OSError as error:
                problems.append(f"{path} cannot be read: {error.strerror}")
            else:
                if content is not None:
                    return content
                problems.append(f"{path} is not Fashion-MNIST's {name}, or is damaged: its checksum differs")
    raise _unavailable(
        problems[0] if problems else f"no file {name} or {name}.gz in {folder}",
        "Put the whole file there, or name another folder with the four files of Fashion-MNIST: "
        "load_data_fashion_mnist(..., root=FOLDER).",
        "Leave `root` out to have them looked for and downloaded: 30 MB, once.")


def _read_official(path, name):
    """Content of a file, decompressed if its name ends in .gz; None if it is not that of the official `name`.

    Never reads much more than that file has, whatever a header or a .gz claims.
    """
    num_bytes, sha256 = IDX_FILES[name]
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a named pipe would wait for ever
        raise OSError(errno.EINVAL, "it is a folder or a device, not a file")
    if status.st_size > 2 * num_bytes + 1000:  # a .gz can go on for ever without any content
        return None
    opener, content = gzip.open if path.suffix == ".gz" else open, b""
    with contextlib.suppress(EOFError, gzip.BadGzipFile, zlib.error), opener(path, "rb") as file:
        content = file.read(num_bytes + 1)
    is_whole = len(content) == num_bytes and hashlib.sha256(content).hexdigest() == sha256
    return content if is_whole else None


def _parse_idx(content):
    """An IDX file of unsigned bytes as a tensor: images (n, 28, 28) uint8 or labels (n,) int64.

    Header: two zero bytes, the type (8 = unsigned byte), the number of dimensions, then each of them as a
    big-endian 32-bit number. DatasetUnavailableError if it does not fit what follows.
    """
    num_dims = content[3] if content[:4] in (b"\0\0\x08\1", b"\0\0\x08\3") else 0
    begin = 4 + 4 * num_dims
    shape = [int.from_bytes(content[i:i + 4], "big") for i in range(4, begin, 4)]
    if not shape or len(content) != begin + math.prod(shape):
        raise DatasetUnavailableError(f"no IDX file of images or labels: its {len(content):,} bytes begin with "
                                      f"{content[:16].hex(' ')}")
    array = np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
    return torch.from_numpy(array.copy() if num_dims == 3 else array.astype(np.int64))


def _download(folder):
    """Fetch what is missing or damaged in `folder`, one process at a time, and read everything."""
    import filelock
    from torchvision.datasets import FashionMNIST as Source
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "download.lock", timeout=LOCK_TIMEOUT_S):
            for filename, md5 in Source.resources:
                try:
                    _read_checked(folder, filename.removesuffix(".gz"))  # whole already, or another process was faster
                except DatasetUnavailableError:
                    _download_file(Source.mirrors, filename, md5, folder)
    except filelock.Timeout:
        problem = f"is still being downloaded by another program: for {LOCK_TIMEOUT_S:,} s it has held {folder}"
        way = "Wait until that program has it, or end it (shut down other notebooks' kernels), and run this again."
    except ConnectionError as error:
        problem = f"could not be downloaded: {error}"
        way = "Connect to the network and run this again: 30 MB, once."
    except (OSError, NotImplementedError) as error:  # NotImplementedError: file systems that cannot lock
        problem = f"could not be kept in {folder}: {error}"
        way = "Make that a folder that you can write to, on a disk with 30 MB free, and run this again."
    else:
        return _read_folder(folder)
    raise _unavailable(
        f"the full Fashion-MNIST is not on this machine, or not whole, and {problem}", way,
        "Get the four files another way and name their folder: load_data_fashion_mnist(..., root=FOLDER).\n"
        "     On Debian and Ubuntu `apt-get install dataset-fashion-mnist` is enough: then leave root out.") from None


def _download_file(mirrors, filename, md5, folder):
    """Fetch one file from the first mirror that has it whole; it appears in `folder` complete or not at all.

    Raises:
        ConnectionError: no mirror gave it; says why, mirror by mirror.
        OSError: the file cannot be written.
    """
    from torchvision.datasets.utils import check_integrity
    if (folder / filename).is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder is where the file should be", str(folder / filename))
    part = folder / f"{filename}.part"
    errors = []
    try:
        for mirror in mirrors:
            part.unlink(missing_ok=True)  # left by a process that was killed, or by the mirror before
            try:
                _fetch(mirror + filename, part, 2 * IDX_FILES[filename.removesuffix(".gz")][0] + 1000)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if isinstance(error, PermissionError) or getattr(error, "errno", None) in DISK_ERRORS:
                    raise
                errors.append(f"{mirror}{filename}: {_reason(error)}")
            else:
                if check_integrity(str(part), md5):
                    os.replace(part, folder / filename)
                    return
                errors.append(f"{mirror}{filename}: {_what_came(part)}")
    finally:
        part.unlink(missing_ok=True)
    raise ConnectionError("; ".join(errors))


def _fetch(url, path, most_bytes):
    """Write what a server gives to `path`; a little over `most_bytes` of it, and for `DOWNLOAD_DEADLINE_S`, at most."""
    from tqdm import tqdm
    end = time.monotonic() + DOWNLOAD_DEADLINE_S
    request = urllib.request.Request(url, headers={"User-Agent": "resnet_helpers"})  # some servers refuse Python's own
    with (urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as response, open(path, "wb") as file,
          tqdm(total=response.length, unit="B", unit_scale=True, desc=url.rpartition("/")[2]) as bar):
        while (chunk := response.read1(2**16)) and file.tell() <= most_bytes:
            if time.monotonic() > end:
                raise ConnectionError(f"too slow: {file.tell():,} bytes in {DOWNLOAD_DEADLINE_S} s")
            bar.update(file.write(chunk))


def _reason(error):
    """Why a download failed, where urllib does not say it plainly."""
    if type(error) is urllib.error.URLError:  # a wrapper
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer for {DOWNLOAD_TIMEOUT_S} s"
    kind = f"{type(error).__name__}: " if isinstance(error, http.client.HTTPException) else ""
    return kind + " ".join(str(error).split())  # on one line


def _what_came(part):
    """What is wrong with a file of another checksum."""
    with open(part, "rb") as file:
        start = file.read(100)
    if start.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(b"<"):
        return ("what came is a web page: a proxy or a sign-in page stands between. Open any page in a browser, and "
                "sign in if it asks")
    return f"the {part.stat().st_size:,} bytes that came have another checksum: cut off, or altered on the way"
