"""Repeat notebook 4's quick run with several seeds and print where each ends.

    python tests/tools/quick_run_seeds.py [NUM_SEEDS]

Takes the run's two cells from the notebook itself, so that what is tried is what readers run. About
40 s a seed on 2 cores.
"""

import argparse
import platform
from pathlib import Path

import nbformat
import torch

import resnet_helpers as d2l
from resnet_helpers import pictures

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "04_training.ipynb"


def quick_run_source():
    """The source of the cell that sets the run up and of the one that trains."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells
             if cell.cell_type == "code"]
    (start,) = [i for i,
                source in enumerate(cells)
                if source.startswith("num_epochs, lr, batch_size, device =")]
    return "\n".join(cells[start:start + 2])


def quick_run(seed):
    """The History of one run."""
    source = quick_run_source()
    if source.count("torch.manual_seed(0)") != 1:
        raise SystemExit(f"{NOTEBOOK.name} no longer sets the seed with torch.manual_seed(0)")
    names = {"torch": torch, "d2l": d2l, "init_weights": d2l.init_weights, "pictures": pictures,
             "print": lambda *_: None}
    exec(source.replace("torch.manual_seed(0)", f"torch.manual_seed({seed})"), names)
    return names["history"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("num_seeds", nargs="?", type=int, default=5, metavar="NUM_SEEDS")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    for seed in range(options.num_seeds):
        history = quick_run(seed)
        print(f"seed {seed}: loss {history.train_loss:.3f}, train acc {history.train_acc:.3f}, "
              f"test acc {history.test_acc:.3f}, {history.records[-1].seconds:.0f} s, "
              f"{history.examples_per_second:.0f} examples/sec", flush=True)
