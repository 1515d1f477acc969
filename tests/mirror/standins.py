"""``python -m mirror`` with stand-ins' digests in its built-in tables: weights are all that is replaced.

``STANDINS`` is a JSON object of digests by name of a model of Whisper, or by path of an encoding.
"""

import json
import os

from mirror.cli import main
from mirror.hubs import whisper

if __name__ == "__main__":
    for name, digest in json.loads(os.environ["STANDINS"]).items():
        (whisper.ENCODINGS if name.startswith("/") else whisper.MODELS)[name] = digest
    main()
