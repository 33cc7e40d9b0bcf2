"""Run a program that ends with the process that started it, however that one ends.

    python -I tether.py PARENT_PID SIGNAL USER PROGRAM [ARGUMENT…]

The kernel sends it SIGNAL when the thread that started it is gone, which must therefore last
as long as its process. USER is `-` for no change. Started by path, without the project on
sys.path.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signum, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    program = sys.argv[4:]
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        # After setuid, which clears it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        raise SystemExit("the process that asked for this one is gone")
    os.execvp(program[0], program)  # noqa: S606


main()
