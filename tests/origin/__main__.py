"""``python -m tests.origin --port 8095 --demo``: a hub on this machine, until interrupted."""

import argparse
import signal
import threading

from tests.origin.demo import demo_tokens, fill
from tests.origin.origin import Origin


def main() -> None:
    """Serve, and print where, and the settings that point a mirror here."""
    parser = argparse.ArgumentParser(prog="tests.origin", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of the hub (default: a free one)")
    parser.add_argument("--demo", action="store_true", help="serve the demo's repos")
    wishes = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Origin(port=wishes.port) as origin:
        if wishes.demo:
            fill(origin)
        rows = [
            f"# hub {origin.url}  cdn {origin.cdn_url}  cas {origin.cas_url}",
            *(f"# token {token} is {user}'s" for token, user in demo_tokens.items() if wishes.demo),
            f"export MODELMIRROR_HUGGINGFACE_UPSTREAMS={origin.url}",
            f"export MODELMIRROR_REDIRECT_HOSTS={','.join(origin.redirect_hosts)}",
        ]
        print("\n".join(rows), flush=True)  # noqa: T201  this is what the command is for
        ended.wait()


if __name__ == "__main__":
    main()
