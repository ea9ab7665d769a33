#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`check` in a host on which all is well, then with one thing broken at a time (breaks.py), each mended again."""

import json
import os
import time

import breaks
from life import Story, built, main, settled

PORT = 10031
SETTLED = settled("dstack-host.target", "dstack-kms.service")
# A daemon that was started again may take this long to answer.
MEND_SECONDS = 60
# Longer than a daemon is given for its first answer.
SEE_SECONDS = 40


def check(box, *words):
    result = box.run(["dstack-host", "check", "--json", *words], check=False, timeout=60)
    assert result.code in (0, 1, 3), result.stderr
    return {row["id"]: row for row in json.loads(result.stdout)["checks"]}


def failing(rows):
    return {key: row for key, row in rows.items() if row["status"] == "fail"}


def shown(rows):
    return "\n".join(f"{row['id']} {row['outcome']}: {row['cause']}; {row['fix']}" for row in list(rows.values())[:6])


def until(box, wanted, seconds):
    """Looks again until `wanted` holds of what is seen; a look takes as long as the slowest answer, so this is no busy wait."""
    deadline = time.monotonic() + seconds
    while True:
        rows = check(box)
        if wanted(rows) or time.monotonic() > deadline:
            return rows


def well(rows):
    return not failing(rows)


def mend(box, case, rows):
    box.run("systemctl reset-failed", check=False)
    command = rows[case.check]["fix"] if case.mend is breaks.AS_PRINTED else case.mend
    return box.run(command or "true", check=False, timeout=60, env={"DEBIAN_FRONTEND": "noninteractive"})


def break_one(box, case):
    """Breaks, expects exactly that check to fail with that outcome, mends, expects all well again."""
    box.run("systemctl reset-failed", check=False)  # nobody breaks a host six times within ten seconds
    box.run(case.wreck, timeout=120)
    rows = until(box, lambda seen: seen[case.check]["outcome"] == case.outcome, SEE_SECONDS)
    mended = mend(box, case, rows)  # before anything is judged: the next case wants a host on which all is well
    row = rows.pop(case.check)
    assert row["outcome"] == case.outcome, f"{case.check} is {row['outcome']} ({row['found']}; {row['cause']})\n" \
        f"failing: {shown(failing(rows))}"
    assert row["status"] == case.status and row["cause"], row
    assert not failing(rows), f"more fails than the one cause:\n{shown(failing(rows))}"
    if case.mend is breaks.AS_PRINTED:
        assert row["fix"] and mended.code == 0, f"{row['fix']}: {mended.stdout}{mended.stderr}"
    rows = until(box, lambda seen: well(seen) and seen[case.check]["status"] in ("ok", "skip"), MEND_SECONDS)
    assert well(rows) and rows[case.check]["status"] in ("ok", "skip"), f"after {row['fix']!r}:\n{shown(failing(rows))}"


def only_what_has_sealed(box):
    """The image's name is given to another image, which claims to be no simulation."""
    name, unit, record = "gramine-sealing-key-provider", "dstack-key-provider.service", "/var/lib/dstack/kms/key-provider"
    container = ["docker", "inspect", "-f", "{{.Id}} {{.Image}} {{.State.StartedAt}}", name]
    before = box.run(container).stdout
    image = before.split()[1]
    box.run(["rm", record])
    box.run("docker commit --change 'LABEL org.dstack.simulated=false' "
            f"{name} dstack-sim/{name}:latest; touch /run/dstack/key-provider/docker-compose.yaml")
    told = f"docker tag {image} dstack-sim/{name}:latest"
    try:
        applied = box.run(["dstack-host", "apply"], timeout=120)
        assert told in applied.stdout + applied.stderr, applied
        box.run(settled(unit), timeout=120)
        box.run(["systemctl", "is-active", unit])
        assert box.run(container).stdout == before, "apply touched the container"
        assert box.run(["cat", record]).stdout == f"{image}\nsimulated\n"
        assert box.run(["systemctl", "restart", unit], check=False, timeout=120).code != 0
        journal = box.run(["journalctl", "--no-pager", "-b", "-o", "cat", "-u", unit]).stdout
        assert f"so it is not started: dstack-sim/{name}:latest is " in journal and told in journal, journal
        assert box.run(container).stdout.split()[:2] == before.split()[:2], "the container was replaced"
    finally:
        box.run(told)
        box.run(f"systemctl reset-failed {unit}; systemctl start {unit}", timeout=120)
    box.run(["dstack-host", "await", "key-provider"], timeout=60)
    assert box.run(container).stdout.split()[:2] == before.split()[:2]


def tell():
    release = "bookworm"
    story = Story("check", release)

    @story.step("on a host on which all is well nothing fails")
    def _(box):
        box.add_repo(built(release))
        box.preseed({"dstack-host/domain": "demo.example.org", "dstack-host/settings": f"VMM_HOST_API_PORT={PORT}"})
        box.apt_install("dstack-host", "dstack-host-sim", "sudo", "curl", timeout=600)
        box.run(SETTLED, timeout=180)
        rows = until(box, well, MEND_SECONDS)
        assert well(rows), shown(failing(rows))
        assert any(row["outcome"] == "simulated" for row in rows.values())

    @story.step("an ordinary user is told what needs root, and the rest is checked")
    def _(box):
        result = box.run("runuser -u nobody -- dstack-host check --json", check=False)
        rows = {row["id"]: row for row in json.loads(result.stdout)["checks"]}
        assert not failing(rows), shown(failing(rows))
        assert any(row["outcome"] == "privilege" for row in rows.values())
        assert any(row["status"] == "ok" for row in rows.values())

    @story.step("no other key provider takes the place of the one that sealed", independent=True)
    def _(box):
        only_what_has_sealed(box)

    word = os.environ.get("DSTACK_BREAK", "")  # while one is at work on a case
    for case in (case for case in breaks.CASES if word in f"{case.name} {case.check}"):
        story.step(f"{case.name}: {case.check} says {case.outcome}", independent=True)(
            lambda box, case=case: break_one(box, case))

    story.run("check")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main(tell)
