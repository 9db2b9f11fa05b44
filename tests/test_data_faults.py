"""What goes wrong with the full data set: networks, disks, killed processes, damaged files.

In each case one message says what happened and what to do, nothing damaged is used, nothing whole
is lost, and the same call succeeds once the fault is gone.
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
from pathlib import Path

import filelock
import pytest
from mirror import (
    DEAD,
    Mirror,
    altered,
    assert_is,
    child,
    cut,
    damage,
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
DAMAGES = ["truncated", "longer", "altered", "garbled", "empty", "not gzip"]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals, limits and rights")


@contextlib.contextmanager
def refused(message, way="subset=True"):
    """The with block ends in one message: what happened in its first line, then the ways out."""
    with pytest.raises(DatasetUnavailableError) as error:
        yield
    check_message(str(error.value), message, way)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def check_message(text, message, way):
    problem, *ways = text.splitlines()
    assert re.search(message, problem)
    assert way in text and "root=FOLDER" in text and "subset=True" in ways[-1] and len(ways) < 6


def cached(tmp_path, idx):
    """Names of the files in the cache, all of them whole."""
    paths = list((tmp_path / "cache").glob("*.gz"))
    for path in paths:
        assert gzip.decompress(path.read_bytes()) == idx[path.stem]
    return {path.name for path in paths}


def gz(*names):
    return {f"{name}.gz" for name in names}


@pytest.fixture
def mirror(idx, monkeypatch):
    """A mirror of the four files, and the only one. Its `fault` is about the third file."""
    with serving(Mirror(idx, faulty_path=f"/{TEST_IMAGES}.gz")) as mirror:
        use_mirrors(monkeypatch, [mirror.url], mirror.resources)
        yield mirror


# --- the network ---

def status(number, **headers):
    return lambda handler, body: handler.reply(b"", number, **headers)


NOT_THE_FILE = "what came is not that file.*sign-in page"
FAULTS = {
    "a sign-in page": (web_page, NOT_THE_FILE),
    "wrong checksum": (altered, NOT_THE_FILE),
    "longer": (lambda handler, body: handler.reply(body + b"x"), NOT_THE_FILE),
    "empty": (status(200), NOT_THE_FILE),
    "not found": (status(404), "404"),
    "proxy wants a password": (status(407), "407"),
    "redirected in a circle": (status(302, Location=f"/{TEST_IMAGES}.gz"), "redirects"),
    "no HTTP": (lambda handler, body: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n"), "SSH-2.0"),
    "broken down": (reset, "reset|closed|aborted|broken"),
    "no answer": (silence, "timed out.*0.3"),
    "stops answering": (stall, "timed out"),
    "cut at once": (cut(0), "IncompleteRead|not all of it"),
    "cut near the end": (cut(9), "IncompleteRead|not all of it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_fails_says_why_and_goes_on_once_that_is_mended(
        idx, tmp_path, monkeypatch, mirror, fault):
    monkeypatch.setattr(data, "TIMEOUT_S", 0.3)
    mirror.fault, message = FAULTS[fault]
    with refused(f"could not be downloaded: {mirror.url}{TEST_IMAGES}.gz: .*({message})",
                 "Connect to the network"):
        d2l.load_data_fashion_mnist(256)
    assert cached(tmp_path, idx) == gz(TRAIN_IMAGES, TRAIN_LABELS)
    mirror.fault = None
    mirror.requests.clear()
    assert_is(d2l.load_fashion_mnist(), idx)
    assert mirror.downloaded_once() == {f"/{TEST_IMAGES}.gz", f"/{TEST_LABELS}.gz"}
    assert {path.name for path in (tmp_path / "cache").iterdir()} == gz(*idx) | {"download.lock"}


def test_a_proxy_that_answers_everything_with_its_own_page(idx, tmp_path, monkeypatch):
    with serving(Mirror(idx, web_page)) as proxy:
        use_mirrors(monkeypatch, ["http://mirror.invalid/"], proxy.resources)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with refused(f"mirror.invalid/.*{NOT_THE_FILE}"):
            d2l.load_fashion_mnist()
        assert proxy.requests
    assert cached(tmp_path, idx) == set()


def test_no_network_does_not_hide_what_is_there(idx, tmp_path, monkeypatch, mirror):
    write(tmp_path / "cache", {TRAIN_IMAGES: idx[TRAIN_IMAGES]}, True)
    use_mirrors(monkeypatch, [DEAD], mirror.resources)
    with refused("refused|10061"):
        d2l.load_fashion_mnist()
    assert cached(tmp_path, idx) == gz(TRAIN_IMAGES)
    use_mirrors(monkeypatch, [mirror.url], mirror.resources)
    assert_is(d2l.load_fashion_mnist(), idx)
    assert f"/{TRAIN_IMAGES}.gz" not in mirror.downloaded_once()


# --- processes ---

@pytest.mark.slow
@posix
def test_processes_that_start_at_once_download_once(idx, tmp_path, mirror):
    process = child("""
        children = 0
        for _ in range(3):  # 8 processes, after the slow imports
            children = children + 1 if os.fork() else 0
        os.write(1, f"{data.load_fashion_mnist().train_labels.tolist()}\\n".encode())
        assert all(os.wait()[1] == 0 for _ in range(children))
        os._exit(0)  # the ordinary way takes seconds to tear torch down
    """, tmp_path / "cache", mirror)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines() == 8 * [str(list(idx[TRAIN_LABELS][8:]))]
    assert mirror.downloaded_once() == set(mirror.files)


@pytest.mark.slow
@posix
def test_a_cache_left_by_a_killed_process_is_filled(idx, tmp_path, mirror):
    mirror.fault = stall
    process = child("data.load_fashion_mnist()", tmp_path / "cache", mirror)
    assert mirror.reached.wait(60), process.communicate(timeout=10)
    process.kill()
    process.communicate()
    assert cached(tmp_path, idx) == gz(TRAIN_IMAGES, TRAIN_LABELS)
    mirror.fault = None
    assert_is(d2l.load_fashion_mnist(), idx)


@posix
def test_the_stop_button_during_a_download(idx, tmp_path, mirror):
    def press_stop(handler, body):
        handler.reply(body, num_bytes=len(body) // 2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        mirror.closing.wait(60)

    mirror.fault = press_stop
    with pytest.raises(KeyboardInterrupt):
        d2l.load_fashion_mnist()
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == gz(TRAIN_IMAGES, TRAIN_LABELS) | {"download.lock"}
    mirror.fault = None
    assert_is(d2l.load_fashion_mnist(), idx)


def test_a_program_that_downloads_for_ever_is_not_waited_for_as_long(
        idx, tmp_path, monkeypatch, mirror):
    monkeypatch.setattr(data, "LOCK_TIMEOUT_S", 0.1)
    (tmp_path / "cache").mkdir()
    with filelock.FileLock(tmp_path / "cache/download.lock"), refused("another program", "Wait"):
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
def test_an_ordinary_user_in_folders_of_others(idx, open_folder, mirror):
    three = {name: idx[name] for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_LABELS)}
    modes = {"empty": 0o555, "partly": 0o555, "whole": 0o555, "private": 0}
    for name, files in {"empty": {}, "partly": three, "whole": idx, "private": idx}.items():
        write(open_folder / name, files, True)
        (open_folder / name).chmod(modes[name])
    process = child("""
        import pooch, requests
        data.load_fashion_mnist()  # all is imported: another user may not find Python's files
        if os.getuid() == 0:
            os.setuid(65534)
        outcomes = []
        for folder, is_root in json.loads(sys.argv[2]):
            data.cache_folder = lambda: pathlib.Path(folder)
            try:
                found = data.load_fashion_mnist(folder if is_root else None)
                outcomes.append(found.test_labels.tolist())
            except data.DatasetUnavailableError as error:
                outcomes.append(str(error))
        print(json.dumps(outcomes))
    """, open_folder / "first", mirror,
        json.dumps([(str(open_folder / name), name == "private") for name in modes]))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    *not_writable, from_whole, from_private = json.loads(out.splitlines()[-1])
    for text in not_writable:
        check_message(text, "could not be kept in .*Permission denied", "a folder you can write to")
    assert from_whole == list(idx[TEST_LABELS][8:])
    check_message(from_private, "private.* cannot be read: .*Permission denied", "whole file there")
    assert {path.name for path in (open_folder / "partly").iterdir()} == gz(*three)


@pytest.mark.slow
@posix
def test_a_full_disk(idx, tmp_path, mirror):
    process = child("""
        import resource
        _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limit))  # the third file has more bytes
        try:
            data.load_fashion_mnist()
        except data.DatasetUnavailableError as error:
            message = str(error)
        left = sorted(path.name for path in pathlib.Path(cache).iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        print(json.dumps([message, left, data.load_fashion_mnist().test_labels.tolist()]))
    """, tmp_path / "cache", mirror)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    message, left, labels = json.loads(out.splitlines()[-1])
    check_message(message, f"could not be kept in {tmp_path / 'cache'}: .*too large", "30 MB free")
    assert set(left) == gz(TRAIN_IMAGES, TRAIN_LABELS) | {"download.lock"}
    assert labels == list(idx[TEST_LABELS][8:])
    assert mirror.requests.count(f"/{TRAIN_IMAGES}.gz") == 1  # what was whole stayed


@pytest.mark.parametrize("name", [".", f"{TRAIN_IMAGES}.gz", "download.lock"])
def test_something_is_in_the_way_of_the_cache(idx, tmp_path, mirror, name):
    obstacle = tmp_path / "cache" / name
    if name == ".":
        obstacle.write_text("notes")
    else:
        (obstacle / "kept").mkdir(parents=True)
    with refused(f"could not be kept in {re.escape(str(data.cache_folder()))}: ",
                 "a folder you can write to"):
        d2l.load_fashion_mnist()
    assert not mirror.requests
    obstacle.rename(tmp_path / "elsewhere")
    assert_is(d2l.load_fashion_mnist(), idx)


def test_a_disk_that_has_no_locks_is_told(idx, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with refused("could not be kept in .*flock", "a folder you can write to"):
        d2l.load_fashion_mnist()


# --- damaged files, links, pipes ---

def make_special(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(path)
    else:
        try:
            path.symlink_to(path if kind == "link to itself" else path.with_name("gone"))
        except OSError:  # Windows, for ordinary users
            pytest.skip("no symbolic links here")


@pytest.mark.parametrize(("kind", "message"), [
    ("pipe", "is a folder or a device"), ("folder", "is a folder or a device"),
    ("dangling link", "no file"), ("link to itself", "cannot be read")])
def test_something_else_in_the_place_of_a_file_does_not_hang(idx, tmp_path, mirror, kind, message):
    for folder in (tmp_path / "root", tmp_path / "cache"):
        write(folder, {name: idx[name] for name in idx if name != TEST_LABELS}, True)
        make_special(folder / TEST_LABELS, kind)
    if kind != "folder":
        make_special(tmp_path / "cache" / f"{TEST_LABELS}.gz", kind)  # where the download goes
    with refused(f"{message}.*{TEST_LABELS}|{TEST_LABELS}.*{message}", "Put the whole file there"):
        d2l.load_fashion_mnist(tmp_path / "root")
    write(tmp_path / "root", {TEST_LABELS: idx[TEST_LABELS]}, True)
    for root in (tmp_path / "root", None):
        assert_is(d2l.load_fashion_mnist(root), idx)
    assert os.path.lexists(tmp_path / "root" / TEST_LABELS)  # not ours to delete


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_file_is_named_and_not_used(idx, tmp_path, how, compress):
    write(tmp_path, idx, compress)
    path = tmp_path / (TEST_LABELS + ".gz" * compress)
    for content in (path.read_bytes(), gzip.compress(damage(idx[TEST_LABELS], how))):
        path.write_bytes(damage(content, how))
        with refused(f"{path.name} is damaged", "Put the whole file there"):
            d2l.load_fashion_mnist(tmp_path)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_in_the_cache_is_fetched_again(idx, tmp_path, mirror, how):
    write(tmp_path / "cache", idx, True)
    broken = tmp_path / "cache" / f"{TRAIN_LABELS}.gz"
    broken.write_bytes(damage(broken.read_bytes(), how))
    assert_is(d2l.load_fashion_mnist(), idx)
    assert mirror.downloaded_once() == {f"/{TRAIN_LABELS}.gz"}
    assert os.name != "posix" or broken.stat().st_mode & 0o044 == 0o044  # others may read it


def test_a_damaged_file_does_not_hide_a_whole_one(idx, tmp_path, monkeypatch, mirror):
    folder = tmp_path / "cache"
    write(folder, {name: b"damaged" for name in idx}, False)
    assert_is(d2l.load_fashion_mnist(), idx)  # fetched beside them
    use_mirrors(monkeypatch, [DEAD], mirror.resources)
    write(folder / "raw", idx, True)
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"damaged")
    for root in (folder, None):
        assert_is(d2l.load_fashion_mnist(root), idx)
