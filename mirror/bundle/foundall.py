"""Every kind of cache that is recognised."""

from typing import Final

from mirror.bundle import (
    foundfiles,
    foundhub,
    foundkaggle,
    foundloose,
    foundollama,
    foundunpacked,
)
from mirror.bundle.found import Scanner

SCANNERS: Final[tuple[Scanner, ...]] = (
    foundhub.scan,
    foundloose.scan,
    *foundfiles.SCANNERS,
    *foundunpacked.SCANNERS,
    foundkaggle.scan,
    foundollama.scan,
)
