"""What goes wrong with the data set: networks, proxies, disks, killed processes, damaged and odd files.

In each case one message says what happened and what to do, nothing damaged is used, nothing whole is lost, and the same
call succeeds once the fault is gone.
"""

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import tracemalloc
import urllib.request
from pathlib import Path

import filelock
import numpy as np
import pytest
from mirror import (
    DEAD,
    Mirror,
    altered,
    assert_is,
    child,
    cut,
    damage,
    drip,
    flood,
    idx_file,
    reset,
    serving,
    silence,
    stall,
    use_mirrors,
    web_page,
    write,
)

import resnet_helpers as d2l
from resnet_helpers import data
from resnet_helpers.data import DatasetUnavailableError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.IDX_FILES
REAL_FOLDER = data.DEBIAN_FOLDER  # the fixture idx names another
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither these signals and limits nor permission bits")


def refused(message, *others):
    """The with block ends in one message: what happened in its first line, then the ways out."""
    @contextlib.contextmanager
    def block():
        with pytest.raises(DatasetUnavailableError) as error:
            yield
        check_message(str(error.value), message, *others)
        assert error.value.__suppress_context__ or error.value.__context__ is None  # a shell shows this alone
    return block()


def check_message(text, *messages):
    problem, *ways = text.splitlines()
    for message in messages:
        assert re.search(message, text)
    assert re.search(messages[0], problem)
    assert "root=FOLDER" in text and "subset=True" in ways[-1] and len(ways) < 6


def cached(tmp_path, idx):
    """Names of the files in the cache, all of them whole."""
    paths = [path for path in (tmp_path / "cache").iterdir() if path.name != "download.lock"]
    for path in paths:
        assert gzip.decompress(path.read_bytes()) == idx[path.name.removesuffix(".gz")]
    return {path.name for path in paths}


def gz(*names):
    return {f"{name}.gz" for name in names}


@pytest.fixture
def mirror(idx, monkeypatch):
    """A mirror of the four files, and the only one. Whatever its `fault`, it holds back the third file."""
    with serving(Mirror(idx, faulty_path=f"/{TEST_IMAGES}.gz")) as mirror:
        use_mirrors(monkeypatch, [mirror.url], mirror.resources)
        yield mirror


# --- the network ---

def status(number):
    return lambda handler, body: handler.reply(b"", number)


def redirect(target):
    return lambda handler, body: handler.reply(b"", 302, Location=target)


FAULTS = {
    "a sign-in page": (web_page, "a web page: a proxy or a sign-in page stands between.*browser"),
    "wrong checksum": (altered, r"the [\d,]+ bytes that came have another checksum"),
    "longer": (lambda handler, body: handler.reply(body + b"x"), "another checksum"),
    "empty": (status(200), "the 0 bytes that came"),
    "not found": (status(404), "HTTP Error 404"),
    "proxy wants a password": (status(407), "HTTP Error 407"),
    "sign-in required": (status(511), "HTTP Error 511"),
    "redirected in a circle": (redirect(f"/{TEST_IMAGES}.gz"), "HTTP Error 302"),
    "redirected nowhere": (redirect("http://[nowhere/"), "Invalid IPv6 URL"),
    "no HTTP": (lambda handler, body: handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "BadStatusLine: SSH-2.0"),
    "broken down": (reset, "reset|checksum|closed|aborted"),
    "no answer": (silence, "no answer for 0.3 s"),
    "stops answering": (stall, "no answer for 0.3 s"),
    "drips": (drip, "too slow: [1-9][0-9]* bytes in 0.6 s"),
    "goes on for ever": (flood, "another checksum"),
    **{f"cut at {tenths}0 %": (cut(tenths), r"the [\d,]+ bytes that came.* cut off") for tenths in range(10)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_fails_says_why_and_goes_on_once_that_is_mended(idx, tmp_path, monkeypatch, mirror, fault):
    monkeypatch.setattr(data, "DOWNLOAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(data, "DOWNLOAD_DEADLINE_S", 0.6 if fault == "drips" else 1800)
    mirror.fault, message = FAULTS[fault]
    with refused(f"could not be downloaded: {mirror.url}{TEST_IMAGES}.gz: .*({message})", "Connect to the network"):
        d2l.load_data_fashion_mnist(256)
    assert cached(tmp_path, idx) == gz(TRAIN_IMAGES, TRAIN_LABELS)
    mirror.fault = None
    mirror.requests.clear()
    assert_is(d2l.load_fashion_mnist(), idx)
    assert mirror.downloaded_once() == {f"/{TEST_IMAGES}.gz", f"/{TEST_LABELS}.gz"}  # the whole ones stayed
    assert cached(tmp_path, idx) == gz(*idx)


def test_another_mirror_takes_over_from_one_that_gives_something_else(idx, tmp_path, monkeypatch, mirror):
    with serving(Mirror(idx, web_page)) as wrong:
        use_mirrors(monkeypatch, [wrong.url, mirror.url], mirror.resources)
        assert_is(d2l.load_fashion_mnist(), idx)
    assert cached(tmp_path, idx) == gz(*idx)


def test_a_proxy_that_answers_everything_with_its_own_page(idx, tmp_path, monkeypatch):
    with serving(Mirror(idx, web_page)) as proxy:
        use_mirrors(monkeypatch, ["http://mirror.invalid/"], proxy.resources)
        monkeypatch.setattr(urllib.request, "_opener", None)  # urllib looks for proxies once
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with refused("mirror.invalid/.*a web page: a proxy", "Connect to the network"):
            d2l.load_fashion_mnist()
        assert proxy.requests
    assert cached(tmp_path, idx) == set()


def test_no_network_does_not_hide_what_is_there(idx, tmp_path, monkeypatch):
    write(tmp_path / "cache", {TRAIN_IMAGES: idx[TRAIN_IMAGES]}, True)
    with serving(Mirror(idx)) as mirror:
        use_mirrors(monkeypatch, [DEAD], mirror.resources)
        with refused("Connection refused|10061", "Connect to the network"):
            d2l.load_fashion_mnist()
        assert cached(tmp_path, idx) == gz(TRAIN_IMAGES)
        use_mirrors(monkeypatch, [mirror.url], mirror.resources)
        assert_is(d2l.load_fashion_mnist(), idx)
        assert f"/{TRAIN_IMAGES}.gz" not in mirror.downloaded_once()


# --- processes ---

@pytest.mark.slow
@posix
def test_a_cache_left_by_a_killed_process_is_put_in_order(idx, tmp_path, mirror):
    mirror.fault = stall
    process = child("data.load_fashion_mnist()", tmp_path / "cache", mirror)
    assert mirror.reached.wait(60), process.communicate(timeout=10)
    part = tmp_path / "cache" / f"{TEST_IMAGES}.gz.part"
    while not part.exists() or not part.stat().st_size:  # the request that asks for a redirect came first
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert part.exists() and not (tmp_path / "cache" / f"{TEST_IMAGES}.gz").exists()
    mirror.fault = None
    mirror.requests.clear()
    assert_is(d2l.load_fashion_mnist(), idx)
    assert mirror.downloaded_once() == {f"/{TEST_IMAGES}.gz", f"/{TEST_LABELS}.gz"}
    assert cached(tmp_path, idx) == gz(*idx)  # and nothing else


@posix
def test_the_stop_button_during_a_download(idx, tmp_path, mirror):
    def press_stop(handler, body):
        handler.reply(body, num_bytes=len(body) // 2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        mirror.closing.wait(60)

    mirror.fault = press_stop
    with pytest.raises(KeyboardInterrupt):
        d2l.load_fashion_mnist()
    assert cached(tmp_path, idx) == gz(TRAIN_IMAGES, TRAIN_LABELS)
    mirror.fault = None
    assert_is(d2l.load_fashion_mnist(), idx)


def test_a_program_that_downloads_for_ever_is_not_waited_for_as_long(idx, tmp_path, monkeypatch, mirror):
    monkeypatch.setattr(data, "LOCK_TIMEOUT_S", 0.1)
    (tmp_path / "cache").mkdir()
    with filelock.FileLock(tmp_path / "cache" / "download.lock"), refused("by another program", "Wait until"):
        d2l.load_fashion_mnist()
    assert not mirror.requests
    assert_is(d2l.load_fashion_mnist(), idx)


# --- a cache that cannot be written ---

@pytest.fixture
def open_folder():
    """A folder that other users can look into; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="resnet helpers "))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*/"):
        path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.slow
@posix
def test_an_ordinary_user_in_folders_and_files_of_others(idx, open_folder, mirror):
    three = {name: idx[name] for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_LABELS)}
    empty, partly, whole, private, home, locked = (open_folder / name for name in (
        "empty", "partly", "whole", "private", "home", "locked"))
    for folder, files in ((empty, {}), (partly, three), (whole, idx), (private, idx), (home, {}), (locked, idx)):
        write(folder, files, True)
    (locked / f"{TRAIN_IMAGES}.gz").chmod(0)
    locked.chmod(0o777)
    (partly / "download.lock").touch()
    (partly / "download.lock").chmod(0o666)  # the lock is free; the file cannot be written
    private.chmod(0)
    for folder in (empty, partly, whole, home):
        folder.chmod(0o555)
    process = child("""
        data.load_fashion_mnist()  # all is imported: another user may not find Python's files
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        outcomes = []
        for cache in json.loads(sys.argv[2]):
            data.cache_folder = lambda: pathlib.Path(cache)
            try:
                outcomes.append(data.load_fashion_mnist().test_labels.tolist())
            except data.DatasetUnavailableError as error:
                outcomes.append(str(error))
        try:
            data.load_fashion_mnist(sys.argv[3])
        except data.DatasetUnavailableError as error:
            outcomes.append(str(error))
        print(json.dumps(outcomes))
    """, open_folder / "first", mirror, json.dumps([str(empty), str(partly), str(home / "cache"), str(whole),
                                                    str(locked)]), private)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    *not_writable, from_whole, from_locked, from_private = json.loads(out.splitlines()[-1])
    for folder, text in zip((empty, partly, home / "cache"), not_writable, strict=True):
        check_message(text, f"could not be kept in {folder}: .*Permission denied", "a folder that you can write to")
    labels = list(idx[TEST_LABELS][8:])
    assert from_whole == labels and from_locked == labels  # read as it is; fetched again beside what is locked
    check_message(from_private, f"{private}.* cannot be read: Permission denied")
    assert {path.name for path in partly.iterdir()} == gz(*three) | {"download.lock"}


@pytest.mark.slow
@posix
def test_a_full_disk(idx, tmp_path, mirror):
    process = child("""
        import resource
        _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit))  # bytes; the third file has more
        try:
            data.load_fashion_mnist()
        except data.DatasetUnavailableError as error:
            message = str(error)
        left = sorted(path.name for path in pathlib.Path(cache).glob("*.gz*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        print(json.dumps([message, left, data.load_fashion_mnist().test_labels.tolist()]))
    """, tmp_path / "cache", mirror)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    message, left, labels = json.loads(out.splitlines()[-1])
    check_message(message, f"could not be kept in {tmp_path / 'cache'}: .*too large", "on a disk with 30 MB free")
    assert set(left) == gz(TRAIN_IMAGES, TRAIN_LABELS) and labels == list(idx[TEST_LABELS][8:])
    assert mirror.requests.count(f"/{TRAIN_IMAGES}.gz") == 1  # the whole ones were not fetched again


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:  # Windows, for ordinary users
        pytest.skip("no symbolic links here")


@pytest.mark.parametrize("obstacle", ["file", "parent is a file", "dangling link", "link to itself",
                                      "folder for a file", "folder for the lock"])
def test_something_is_in_the_way_of_the_cache(idx, tmp_path, monkeypatch, mirror, obstacle):
    cache = tmp_path / "cache"
    if obstacle == "file":
        cache.write_text("notes")
    elif obstacle == "parent is a file":
        (tmp_path / "notes").write_text("notes")
        monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "notes" / "cache")
    elif obstacle == "dangling link":
        link(cache, tmp_path / "gone")
    elif obstacle == "link to itself":
        link(cache, cache)
    elif obstacle == "folder for a file":
        (cache / f"{TRAIN_IMAGES}.gz" / "kept").mkdir(parents=True)
    elif obstacle == "folder for the lock":
        (cache / "download.lock" / "kept").mkdir(parents=True)
    with refused(f"could not be kept in {re.escape(str(data.cache_folder()))}: ", "a folder that you can write to"):
        d2l.load_fashion_mnist()
    assert not mirror.requests
    if "folder" in obstacle:
        assert len(list(cache.glob("*/kept"))) == 1
        shutil.rmtree(cache)
    elif obstacle == "parent is a file":
        assert (tmp_path / "notes").read_text() == "notes"
        (tmp_path / "notes").unlink()
    else:
        cache.unlink()
    assert_is(d2l.load_fashion_mnist(), idx)


def test_a_file_system_that_cannot_lock(idx, monkeypatch, mirror):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    with monkeypatch.context() as patch:
        patch.setattr(filelock.FileLock, "acquire", acquire)
        with refused("could not be kept in .*flock"):
            d2l.load_fashion_mnist()
    assert_is(d2l.load_fashion_mnist(), idx)


# --- folders and files with odd names, links, pipes ---

@pytest.mark.parametrize("name", ["two words", "Übung 残差", "a'b %20 $HOME #1", "file link", "folder link"])
@pytest.mark.parametrize("place", ["root", "cache"])
def test_folders_with_odd_names_and_links(idx, tmp_path, monkeypatch, mirror, name, place):
    folder = tmp_path / name
    if name == "folder link":
        (tmp_path / "real").mkdir()
        link(folder, tmp_path / "real")
    else:
        folder.mkdir()
    if place == "cache":
        monkeypatch.setattr(data, "cache_folder", lambda: folder)
    if name == "file link":
        write(tmp_path / "elsewhere", idx, True)
        for file in (tmp_path / "elsewhere").iterdir():
            link(folder / file.name, file)
    elif place == "root":
        write(folder, idx, True)
    for _ in range(2):
        assert_is(d2l.load_fashion_mnist(folder if place == "root" else None), idx)
    assert bool(mirror.requests) == (place == "cache" and name != "file link")
    assert len(set(mirror.requests)) == len(mirror.requests)


ODD_FILES = {"named pipe": "is a folder or a device", "folder": "is a folder or a device",
             "dangling link": "is a link to a file that is not there", "link to itself": "cannot be read"}


def make_odd(path, kind):
    if kind == "named pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        link(path, path if kind == "link to itself" else path.with_name("gone"))


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_something_else_in_the_place_of_a_file_does_not_hang(idx, tmp_path, kind, ending):
    root = tmp_path / "root"
    write(root, {name: content for name, content in idx.items() if name != TEST_LABELS}, True)
    odd = root / (TEST_LABELS + ending)
    make_odd(odd, kind)
    with refused(f"{TEST_LABELS}{ending} .*{ODD_FILES[kind]}", "Put the whole file there"):
        d2l.load_fashion_mnist(root)
    assert os.path.lexists(odd)  # not ours to delete
    if ending:
        odd.rmdir() if kind == "folder" else odd.unlink()
    write(root, {TEST_LABELS: idx[TEST_LABELS]}, True)  # the compressed file stands beside the odd one
    assert_is(d2l.load_fashion_mnist(root), idx)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_something_else_in_the_cache_does_not_keep_a_file_from_being_fetched(idx, tmp_path, mirror, kind):
    (tmp_path / "cache").mkdir()
    odd = tmp_path / "cache" / TEST_LABELS
    make_odd(odd, kind)
    assert_is(d2l.load_fashion_mnist(), idx)
    assert os.path.lexists(odd)


def test_named_pipes_and_links_where_the_download_goes(idx, tmp_path, mirror):
    (tmp_path / "cache").mkdir()
    make_odd(tmp_path / "cache" / f"{TRAIN_IMAGES}.gz", "dangling link")
    make_odd(tmp_path / "cache" / f"{TEST_IMAGES}.gz", "link to itself")
    make_odd(tmp_path / "cache" / f"{TRAIN_LABELS}.gz.part", "named pipe")
    make_odd(tmp_path / "cache" / f"{TEST_LABELS}.gz.part", "dangling link")
    assert_is(d2l.load_fashion_mnist(), idx)
    assert cached(tmp_path, idx) == gz(*idx)


# --- damaged files ---

@pytest.mark.parametrize("compress", [False, True])
def test_real_files_cut_at_every_64_kib(tmp_path, monkeypatch, compress):
    if not REAL_FOLDER.is_dir():
        pytest.skip("the full Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist)")
    monkeypatch.setattr(data, "IDX_FILES", {TEST_IMAGES: data.IDX_FILES[TEST_IMAGES]})  # nothing else is looked at
    official = (REAL_FOLDER / f"{TEST_IMAGES}.gz").read_bytes()
    content = official if compress else gzip.decompress(official)
    path = tmp_path / (TEST_IMAGES + ".gz" * compress)
    path.write_bytes(content)
    assert data._read_checked(tmp_path, TEST_IMAGES) == gzip.decompress(official)
    for num_bytes in reversed(range(0, len(content), 65536)):
        os.truncate(path, num_bytes)
        with pytest.raises(DatasetUnavailableError, match=f"{TEST_IMAGES}.* damaged"):
            d2l.load_fashion_mnist(tmp_path)


@pytest.mark.parametrize("how", ["truncated", "longer", "altered", "empty", "not gzip"])
def test_a_damaged_file_does_not_hide_a_whole_one(idx, tmp_path, monkeypatch, how):
    use_mirrors(monkeypatch, [DEAD], [(f"{name}.gz", "0" * 32) for name in idx])
    folder = tmp_path / "cache"
    write(folder, idx, True)
    write(folder, {TRAIN_LABELS: damage(idx[TRAIN_LABELS], how)}, False)
    for root in (folder, None):
        assert_is(d2l.load_fashion_mnist(root), idx)
    write(folder / "raw", idx, True)
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"damaged")
    for root in (folder, None):
        assert_is(d2l.load_fashion_mnist(root), idx)


def lie(*shape):
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + b"x" * 100


@contextlib.contextmanager
def little_memory(num_bytes):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < num_bytes
    finally:
        tracemalloc.stop()


SWOLLEN = {
    "bomb": gzip.compress(bytes(32_000_000)),
    "whole, then a bomb": None,  # filled in with the file
    "whole, then nothing for long": None,
    "header that lies": gzip.compress(lie(2**32 - 1, 28, 28)),
    "headers without end": gzip.compress(b"") * 20_000,
    "name without end": b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 400_000,
}


@pytest.mark.parametrize("kind", SWOLLEN)
def test_a_file_that_claims_to_be_huge_takes_little_memory(idx, tmp_path, kind):
    root = tmp_path / "root"
    write(root, idx, True)
    path = root / f"{TRAIN_IMAGES}.gz"
    whole = path.read_bytes()
    swollen = {**SWOLLEN, "whole, then a bomb": whole + SWOLLEN["bomb"],
               "whole, then nothing for long": whole + bytes(1_000_000)}
    path.write_bytes(swollen[kind])
    with little_memory(2_000_000), refused(f"{TRAIN_IMAGES}.gz is not .* or is damaged", "Put the whole file there"):
        d2l.load_fashion_mnist(root)
    path.write_bytes(whole)
    assert_is(d2l.load_fashion_mnist(root), idx)


@pytest.mark.parametrize("content", [
    b"", b"\0\0\x08", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0", b"<html>sign in</html>", b"\0\0\x0d\x01" + lie(100)[4:],
    lie(2**32 - 1), lie(2**32 - 1, 28, 28), lie(2**31, 2**31, 4), lie(99), lie(101), lie(10, 10), lie(2, 5, 9),
    bytes([0, 0, 8, 255]) + bytes(100), lie(0, 28, 28)])
def test_a_header_is_not_trusted(content):
    with little_memory(100_000), pytest.raises(DatasetUnavailableError, match="no IDX file of images or labels"):
        data._parse_idx(content)


@pytest.mark.parametrize("shape", [(100,), (4, 5, 5), (0,)])
def test_a_header_that_fits_is_read(shape):
    assert data._parse_idx(idx_file(np.ones(shape))).shape == shape


# --- the images that come with the package ---

@pytest.mark.parametrize("how", ["missing", "empty", "not gzip", "half", "altered"])
def test_damaged_images_of_the_package(tmp_path, monkeypatch, how):
    content = (Path(data.__file__).parent / "assets/fashion_mnist_subset.npz").read_bytes()
    archive = tmp_path / "assets/fashion_mnist_subset.npz"
    archive.parent.mkdir()
    middle = len(content) // 2
    if how != "missing":
        archive.write_bytes(content[:middle] if how == "half" else damage(content, how) if how != "altered" else
                            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:])
    monkeypatch.setattr(data.resources, "files", lambda package: tmp_path)
    with pytest.raises(DatasetUnavailableError, match="cannot be read .*Get that file again: `git checkout"):
        d2l.load_data_fashion_mnist(256, subset=True)
    archive.write_bytes(content)
    assert len(d2l.load_fashion_mnist_subset().train_labels) == 6000
