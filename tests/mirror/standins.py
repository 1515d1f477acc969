"""``python -m mirror`` with models of Whisper that have stand-ins' digests: weights are all that is replaced.

``STANDINS`` is a JSON object of digests by name.
"""

import json
import os

from mirror.cli import main
from mirror.hubs import whisper

if __name__ == "__main__":
    whisper.MODELS.update(json.loads(os.environ["STANDINS"]))
    main()
