"""Killed at any point: nothing unverified is ever visible, nothing published is lost."""

import subprocess
import sys
from pathlib import Path

from mirror.digest import sha256_of
from tests.house import checkout
from tests.unit.store.commit_and_die import BIG, SMALL
from tests.unit.store.kit import Kit, read

# Fewer points than this and the program no longer dies where it should.
MANY = 30


def test_crash_at_every_step_leaves_whole_blobs_or_none(tmp_path: Path) -> None:
    """After each kill what is found is right, what is left is taken up, and the room adds up."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.unit.store.commit_and_die", str(tmp_path)],
        cwd=checkout.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    steps = int(run.stdout)
    assert steps > MANY
    found_small: list[int] = []
    found_big: list[int] = []
    resumed: list[int] = []
    for step in range(steps):
        with Kit(tmp_path / str(step)) as kit:
            kit.layout.tidy()
            for data, found in ((SMALL, found_small), (BIG, found_big)):
                blob = kit.store.open(sha256_of(data))
                if blob is not None:
                    assert read(blob) == data
                    blob.close()
                    found.append(step)
            assert {one.digest for one in kit.store.walk()} <= {sha256_of(SMALL), sha256_of(BIG)}
            for data in (SMALL, BIG):
                partial = kit.partials.begin(sha256_of(data), len(data))
                if partial.received:
                    resumed.append(step)
                partial.append(data[partial.received :])
                partial.finish()
                kit.store.put([partial])
                partial.close()
            assert kit.alarms == []
            assert kit.ledger.reserved == 0
            assert kit.ledger.used == len(SMALL) + len(BIG) == kit.layout.measure()
            assert list(kit.layout.partials.iterdir()) == []
    # Once published, published at every later point; and each state is met on the way.
    assert found_small == list(range(found_small[0], steps))
    assert found_big == list(range(found_big[0], steps))
    assert 0 < found_small[0] < found_big[0]
    assert len(resumed) > 3
