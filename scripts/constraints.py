"""Write constraints.txt from what is installed here: run it in a fresh environment that has `.[test]` alone.

    python scripts/constraints.py > constraints.txt
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "architecture"))

from requirements import pulled_in  # noqa: E402

HEADER = """\
# The versions that Luodi is tested with: pip install -c constraints.txt -e ".[demo]"
# Written by scripts/constraints.py; pyproject.toml has lower bounds only."""

sys.stdout.write(HEADER + "\n")
for name in sorted(pulled_in("test")):
    # Any build of a version will do: 2.13.0 is met by 2.13.0+cpu as well.
    sys.stdout.write(f"{name}=={version(name).partition('+')[0]}\n")
