"""Python in a process of its own."""

import os
import subprocess
import sys


def run_python(*arguments, without=(), timeout=300, cwd=None, **variables):
    """Run Python to its end, which must be a success: else what it wrote stands in the
    AssertionError.

    Args:
        arguments: of Python, such as `"-c", code`.
        without: names of environment variables that it does not get.
        timeout: seconds.
        cwd: where it works.
        variables: environment variables that it gets.

    Returns:
        What it printed.
    """
    environment = {name: text for name,
                   text in os.environ.items() if name not in without} | variables
    done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, cwd=cwd,
                          capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
