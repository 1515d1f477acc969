"""The window of what is passed through: bytes at their offsets, and memory given back."""

import os
import sys

import pytest

from mirror.store.window import Window

MIB = 1 << 20


def test_window_holds_bytes_at_their_offsets() -> None:
    """What was written is read at the same offset; what was cleared is not."""
    window = Window()
    window.write(5 * MIB, b"abc")

    assert os.pread(window.fileno(), 3, 5 * MIB) == b"abc"
    window.clear()
    assert os.pread(window.fileno(), 3, 5 * MIB) == b""
    window.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep it in a file of the disk")
def test_window_gives_memory_back() -> None:
    """Forgetting frees the pages before an offset and nothing behind it."""
    window = Window()
    for place in range(8):
        window.write(place * MIB, b"x" * MIB)
    before = os.fstat(window.fileno()).st_blocks * 512

    window.forget(6 * MIB + 100)

    assert before >= 8 * MIB
    assert os.fstat(window.fileno()).st_blocks * 512 <= 2 * MIB + 65536
    assert os.pread(window.fileno(), 2 * MIB, 6 * MIB) == b"x" * 2 * MIB
    window.close()


def test_window_is_closed_once() -> None:
    """Closing twice does no harm, and a closed window has no descriptor."""
    window = Window()
    window.close()
    window.close()

    with pytest.raises(ValueError, match="closed"):
        window.fileno()
