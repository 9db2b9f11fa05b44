"""Tests that drive the notebooks in a real JupyterLab, in Chromium, as a reader does."""
