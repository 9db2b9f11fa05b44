"""A Jupyter kernel of this Python in which cells can be run one by one, as a reader does."""

import os
import queue
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
START_TIMEOUT_S = 120

# For tests of what notebooks do with kernels and pages, not of what they compute: trainings take
# three batches an epoch, recordings no time, loss surfaces are coarse, and cells do not assert what
# such trainings reach.
HURRY = """
import itertools
import resnet_helpers
from resnet_helpers import experiments
from resnet_helpers.data import ImageBatches

play = resnet_helpers.play
resnet_helpers.play = lambda recording, seconds: play(recording, 0)
all_batches, fine_surface = ImageBatches.__iter__, experiments.loss_surface
ImageBatches.__iter__ = lambda self: itertools.islice(all_batches(self),
                                                      3 if self.shuffle else None)
experiments.loss_surface = lambda net, X, y, steps: fine_surface(net, X, y, steps=3)
"""
NO_HURRY = "ImageBatches.__iter__, experiments.loss_surface = all_batches, fine_surface"
WITHOUT_ASSERTIONS = {"PYTHONOPTIMIZE": "1"}


@dataclass
class Cell:
    """A code cell: its id, its code, and whether it is meant to fail."""

    id: str
    source: str
    fails: bool = False


def code_cells(path):
    """The code cells of a notebook."""
    return [Cell(cell.id, cell.source, "raises-exception" in cell.metadata.get("tags", []))
            for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@dataclass
class Reply:
    """What came of a cell: printed text, the error as "Name: message" or "", and seconds."""

    printed: str
    error: str
    seconds: float


class Kernel:
    """A kernel with a client; to be used as a context, which ends it.

    Args:
        folder: where it works.
        environment: more variables, {name: text}.
    """

    def __init__(self, folder, environment=None):
        self.manager = KernelManager(kernel_name="python3",
                                     kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self.manager.start_kernel(cwd=str(folder), env={**os.environ, **(environment or {})},
                                  extra_arguments=["--log-level=ERROR"])
        try:
            self._connect()
        except BaseException:
            self.manager.shutdown_kernel(now=True)
            raise

    def _connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=START_TIMEOUT_S)

    @property
    def pid(self):
        """Number of its process."""
        return self.manager.provisioner.pid

    def send(self, source, cell_id=None):
        """Begin with a cell, as JupyterLab does; returns what `wait` needs."""
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {},
                   "allow_stdin": False, "stop_on_error": False}
        message = self.client.session.msg("execute_request", content,
                                          metadata={"cellId": cell_id} if cell_id else {})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"], time.monotonic()

    def wait(self, sent, timeout=600):
        """The `Reply` to a cell; TimeoutError if it takes longer than `timeout` seconds, or its
        kernel has died.
        """
        number, begin = sent
        reply = Reply("", "", 0.0)
        while True:
            if time.monotonic() - begin > timeout:
                raise TimeoutError(f"the cell was still running after {timeout:.0f} s")
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:  # nothing within a second
                if not self.manager.is_alive():
                    seconds = time.monotonic() - begin
                    raise TimeoutError(f"the kernel died after {seconds:.0f} s") from None
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != number:
                continue
            if kind == "stream":
                reply.printed += content["text"]
            elif kind == "error":
                reply.error = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                reply.seconds = time.monotonic() - begin
                return reply

    def run(self, source, cell_id=None, timeout=600):
        """Run a cell to its end."""
        return self.wait(self.send(source, cell_id), timeout)

    def restart(self):
        """As the button does: the kernel is asked to end, and killed if it takes too long."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
