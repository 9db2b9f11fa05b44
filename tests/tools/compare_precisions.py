"""Does bfloat16 cost accuracy? Ten epochs of the quick run, five seeds in each precision; a line
per run, a summary.

    python tests/tools/compare_precisions.py [--epochs N] [--seeds N] [--data full]
"""

import argparse
import statistics

from resnet_helpers.history import History, describe_hardware, describe_versions, results
from resnet_helpers.runs.recipes import RunSettings, prepare_run
from resnet_helpers.training import try_gpu

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", choices=("subset", "full"), default="subset")
    options = parser.parse_args()
    accuracies = {"float32": [], "bfloat16": []}
    for seed in range(options.seeds):
        for precision in accuracies:
            run = prepare_run(RunSettings(data=options.data, num_epochs=options.epochs, seed=seed,
                                          precision=precision))
            history = History()
            for _ in run.fit(history=history):
                pass
            accuracies[precision].append(history.test_acc)
            print(f"seed {seed}  {precision:8}  {results(history)}, "
                  f"{history.examples_per_second:.0f} images/s",
                  flush=True)
    for precision, values in accuracies.items():
        print(f"{precision:8}  test acc from {min(values):.3f} to {max(values):.3f}, "
              f"mean {statistics.mean(values):.4f}")
    low, high = min(accuracies["float32"]), max(accuracies["float32"])
    inside = low <= statistics.mean(accuracies["bfloat16"]) <= high
    print(f"the mean in bfloat16 lies {'within' if inside else 'OUTSIDE'} what the seeds in "
          "float32 span")
    print(describe_hardware(try_gpu()), describe_versions())
