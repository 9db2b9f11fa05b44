"""How a run is run without a notebook: its settings, its processes, and the files that it leaves.

For the shell (`python -m resnet_helpers.train`), the training panel, and whoever records runs.
"""
