"""The client start-up hook: a folder for ``PYTHONPATH``, and what is in it as files.

Other people's Python imports what lies here by its bare name, so nothing else may: a ``wheel.py`` in this
folder would stand in front of theirs.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
"""What to put on ``PYTHONPATH``, or to mount somewhere that is on it."""
