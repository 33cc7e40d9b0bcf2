"""A Python environment for each peer, under .run/, made at first use."""

import subprocess
import sys
from pathlib import Path

from tests.harness.environment import ROOT

HERE = Path(__file__).parent
INSTALL_SECONDS = 600.0


def python_of(name: str) -> str:
    """The interpreter that has tests/bench/rivals/NAME.txt installed; `support`, which is ours,
    beside what the system runs on."""
    directory = ROOT / ".run" / "rivals" / name
    python = directory / "bin" / "python"
    wanted = HERE / f"{name}.txt"
    # One by one: pip takes no file without hashes beside one with them.
    files = [ROOT / "requirements.txt", wanted] if name == "support" else [wanted]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    mark = directory / "installed.txt"
    if not mark.exists() or mark.read_text(encoding="utf-8") != text:
        print(f"Installing {wanted.relative_to(ROOT)} into {directory}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        # Its warnings are about this machine's indexes; its errors are still shown.
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        for file in files:
            subprocess.run(
                [*install, "-r", str(file)], check=True, timeout=INSTALL_SECONDS, cwd=ROOT
            )
        mark.write_text(text, encoding="utf-8")
    return str(python)
