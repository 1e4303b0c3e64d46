"""The documentation as a site, in English and Chinese, under build/site/. A warning is an error.

    python scripts/site.py

Nothing is fetched. Open build/site/index.html, or serve the folder with any web server.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "site"
CONFIGS = ("mkdocs.yml", "mkdocs.zh.yml")


def main() -> int:
    shutil.rmtree(SITE, ignore_errors=True)
    for config in CONFIGS:
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", config]
        done = subprocess.run(command, cwd=ROOT)
        if done.returncode:
            return done.returncode
    shutil.copy(ROOT / "docs" / "index.html", SITE / "index.html")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
