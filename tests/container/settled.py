# SPDX-License-Identifier: Apache-2.0
"""When has a host come to rest? After `dstack-host apply` has ended and what it queued has come about, or failed."""

# The starter's own job is done as soon as apply runs; only apply queues the others. Nothing is started by this.
SCRIPT = """
import os, select, subprocess, sys
STARTER = "dstack-host-start.service"
def after(units):
    subprocess.run(["systemd-run", "--quiet", "--wait", "--collect", "--property=After=" + units, "true"], check=True)
after(STARTER)
pid = int(subprocess.check_output(["systemctl", "show", "-P", "MainPID", STARTER]))
try:
    if pid:
        select.select([os.pidfd_open(pid)], [], [])
except ProcessLookupError:
    pass
after(" ".join(sys.argv[1:]))
"""


def settled(*units):
    """A command line that ends when the jobs of these units have."""
    return ["python3", "-c", SCRIPT, *(units or ("dstack-host.target",))]
