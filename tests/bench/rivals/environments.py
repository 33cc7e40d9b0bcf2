"""A Python environment for each peer, under .run/, made at first use."""

import subprocess
import sys
from pathlib import Path

from tests.harness.environment import ROOT

HERE = Path(__file__).parent
INSTALL_SECONDS = 600.0


def python_of(name: str) -> str:
    """The interpreter that has tests/bench/rivals/NAME.txt installed."""
    directory = ROOT / ".run" / "rivals" / name
    python = directory / "bin" / "python"
    wanted = HERE / f"{name}.txt"
    # What `support.txt` includes counts as well.
    text = wanted.read_text(encoding="utf-8") + (ROOT / "requirements.txt").read_text("utf-8")
    mark = directory / "installed.txt"
    if not mark.exists() or mark.read_text(encoding="utf-8") != text:
        print(f"Installing {wanted.relative_to(ROOT)} into {directory}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        # Its warnings are about this machine's indexes; its errors are still shown.
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run(
            [*install, "-r", str(wanted)], check=True, timeout=INSTALL_SECONDS, cwd=ROOT
        )
        mark.write_text(text, encoding="utf-8")
    return str(python)
