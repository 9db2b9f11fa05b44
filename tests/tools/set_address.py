"""Write the address of this repository into all places that name it.

    python tests/tools/set_address.py https://github.com/OWNER/REPO

They are links to read the course, to Colab and to Binder, the commands that clone, and the
package's own links. Run again with another address, it replaces the one from before.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "pyproject.toml"  # where the present address is found
PLACES = ("README.md", "resnet_helpers/README.md", "tests/README.md", "notebooks/TEACHING.md",
          ".github/SUPPORT.md", ".github/CONTRIBUTING.md", SETTINGS)
ADDRESS = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")


def present_address(root):
    """(owner, repository) that are written in pyproject.toml."""
    text = (root / SETTINGS).read_text(encoding="utf-8")
    return re.search(r'^Homepage = "https://github\.com/([^/"]+)/([^/"]+)"', text, re.M).groups()


def set_address(address, root=ROOT):
    """Replace the present address by another; returns the files that have changed.

    Raises:
        ValueError: it is not the address of a repository on GitHub, which Colab and Binder take.
    """
    new = ADDRESS.fullmatch(address)
    if new is None:
        raise ValueError(f"{address} is no address like https://github.com/owner/repository")
    (old_owner, old_name), (owner, name) = present_address(root), new.groups()
    changed = []
    for place in PLACES:
        path = root / place
        text = path.read_text(encoding="utf-8")
        filled = text.replace(f"{old_owner}.github.io/{old_name}", f"{owner}.github.io/{name}")
        filled = filled.replace(f"{old_owner}/{old_name}", f"{owner}/{name}")
        if filled != text:
            path.write_text(filled, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("address", metavar="https://github.com/OWNER/REPO")
    try:
        for path in set_address(parser.parse_args().address):
            print("written to", path.relative_to(ROOT))
    except ValueError as error:
        sys.exit(f"set_address: {error}")
