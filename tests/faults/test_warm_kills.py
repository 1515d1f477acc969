"""`warm` killed at any time goes on where it was."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.mirror.exporting import World, bytes_of, world
from tests.mirror.warming import bodies, line, run
from tests.origin.faults import Fault

FILES = 40
SIZE = 1 << 20
KILLS = 10
# What comes at once: so many files at most have to begin again after a kill.
JOBS = 2
FLAGS = ("--jobs", str(JOBS))


def killed(site: World, target: str, after: float) -> set[str]:
    """Run it, kill it *after* so many seconds of fetching; the files that it said to be here."""
    log = site.folder / "killed.log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            line(site, "warm", target, *FLAGS, here=True),
            env=site.variables,
            stdout=subprocess.DEVNULL,
            stderr=stream,
        ) as process,
    ):
        while "to fetch" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    return set(re.findall(r": (part-\d\d\.bin): .*\.\n", log.read_text()))


def asked(site: World) -> set[str]:
    """The files that the hub was asked for."""
    paths = (re.search(r"part-\d\d\.bin", seen.path) for seen in site.origin.log)
    return {found[0] for found in paths if found}


@pytest.mark.slow
def test_warm_that_is_killed_ten_times_fetches_every_byte_about_once(tmp_path: Path) -> None:
    """What it said to be here is not asked for again; of the rest a kill costs what was under way."""
    chance = random.Random(7)
    with world(tmp_path) as site:
        site.mirror.stop()
        files = {f"part-{number:02}.bin": bytes_of(f"{number}", SIZE) for number in range(FILES)}
        repo = site.origin.add_repo("models", "acme/forty", files=files)
        site.origin.fault(Fault("drip", path="part-", times=None, rate=4 * SIZE))
        target = f"acme/forty@{repo.commit}"
        here: set[str] = set()
        sent = 0
        for _ in range(KILLS):
            new = killed(site, target, chance.uniform(0, 0.8))
            assert not here & asked(site)
            here |= new
            sent += bodies(site)
            site.origin.clear_log()
        assert 0 < len(here) < FILES  # Else nothing was interrupted.
        ran = run(site, "warm", target, *FLAGS, "--json", here=True)
        assert not here & asked(site)
        assert ran.said("target")[0]["files"] == FILES
        sent += bodies(site)
        assert sent < (FILES + KILLS * JOBS) * SIZE
        site.origin.stop()
        assert "40 files" in run(site, "check", target, here=True).out
