"""A small data set in the place of Fashion-MNIST, and a loopback server that has it, with faults.

For the tests of `data`, which must not need a network.
"""

import collections
import contextlib
import gzip
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from resnet_helpers import data

DEAD = "http://127.0.0.1:9/"  # the discard port: nothing listens


# --- the files ---

def idx_file(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def idx(monkeypatch, tmp_path):
    """{name: content} of four small files; nothing is installed, and the cache is empty."""
    rng = np.random.default_rng(0)
    files = {}
    for prefix, n in (("train", 60), ("t10k", 100)):  # more than a download reads at a time
        files[f"{prefix}-images-idx3-ubyte"] = idx_file(rng.integers(0, 256, (n, 28, 28)))
        files[f"{prefix}-labels-idx1-ubyte"] = idx_file(rng.integers(0, 10, n))
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(data, "IDX_FILES", checksums)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    return files


def write(folder, files, compress):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (name + ".gz" * compress)
        path.write_bytes(gzip.compress(content) if compress else content)


def damage(content, how):
    altered = content[:-1] + bytes([content[-1] ^ 1])
    garbled = content[:12] + bytes(byte ^ 255 for byte in content[12:])
    return {"truncated": content[:-1], "longer": content + b"x", "altered": altered, "empty": b"",
            "garbled": garbled, "not gzip": b"<html>sign in</html>"}[how]


def assert_is(loaded, idx):
    for tensor, content in zip(loaded, idx.values(), strict=True):
        offset = 4 + 4 * content[3]
        assert tensor.flatten().tolist() == list(content[offset:])


# --- the server ---

class Mirror(http.server.ThreadingHTTPServer):
    """A loopback server of files.

    `requests` lists the paths asked for. `fault(handler, body)` answers in place of the file, for
    `faulty_path` alone if there is one; None mends it.
    """

    def __init__(self, files, fault=None, faulty_path=None):
        self.files = {f"/{name}.gz": gzip.compress(content) for name, content in files.items()}
        self.fault, self.faulty_path = fault, faulty_path
        self.requests = []
        self.reached, self.closing = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.resources = [(path[1:], hashlib.md5(body).hexdigest())
                          for path, body in self.files.items()]

    def downloaded_once(self):
        """The files asked for, each once."""
        assert max(collections.Counter(self.requests).values()) == 1
        return set(self.requests)

    def handle_error(self, *_):
        """A client that has gone away is no news."""


class MirrorHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        body = self.server.files.get(self.path, b"")
        if self.server.fault and self.server.faulty_path in (None, self.path):
            self.server.fault(self, body)
        else:
            self.reply(body, 200 if body else 404)

    def reply(self, body, status=200, num_bytes=None, **headers):
        """Send `body`, or its first `num_bytes` under a header that promises all."""
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body[:num_bytes])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(mirror):
    thread = threading.Thread(target=mirror.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield mirror
    finally:
        mirror.closing.set()
        mirror.shutdown()
        thread.join()
        mirror.server_close()


def use_mirrors(monkeypatch, urls, resources):
    import torchvision  # here, as all tests import this file
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", urls)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)


# --- faults of the server ---

def web_page(handler, body):
    handler.reply(b"<!DOCTYPE html><title>Please sign in</title>", Content_Type="text/html")


def altered(handler, body):
    handler.reply(damage(body, "altered"))


def cut(tenths):
    """The connection ends after so many tenths of the file."""
    return lambda handler, body: handler.reply(body, num_bytes=len(body) * tenths // 10)


def reset(handler, body):
    """The connection breaks down after half of the file."""
    handler.reply(body, num_bytes=len(body) // 2)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.rfile.close()
    handler.connection.close()


def stall(handler, body):
    """Half of the file, and then nothing more; the event `reached` tells when."""
    handler.reply(body, num_bytes=len(body) // 2)
    handler.server.reached.set()
    handler.server.closing.wait(60)


def silence(handler, body):
    handler.server.closing.wait(60)


# --- other processes ---

def child(code, cache, mirror, *arguments):
    """Start a process that knows the data of the fixture `idx`, and this cache and mirror alone.

    It runs `code`, which finds `arguments` from sys.argv[2] on, and writes text to pipes.
    """
    preamble = """
        import filelock, json, os, pathlib, sys, torchvision
        from resnet_helpers import data
        cache, url, data.IDX_FILES, sources = json.loads(sys.argv[1])
        data.cache_folder = lambda: pathlib.Path(cache)
        data.DEBIAN_FOLDER = pathlib.Path(cache) / "none"
        torchvision.datasets.FashionMNIST.mirrors = [url]
        torchvision.datasets.FashionMNIST.resources = sources
    """
    settings = json.dumps([str(cache), mirror.url, data.IDX_FILES, mirror.resources])
    environment = {**os.environ, "OMP_NUM_THREADS": "1",
                   "no_proxy": "127.0.0.1"}  # macOS must not ask after a fork
    code = textwrap.dedent(preamble) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", code, settings, *map(str, arguments)],
                            text=True, encoding="utf-8", env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
