"""One target under the fuzzer: `python -m tests.fuzz.engine TARGET [options of libFuzzer]`."""

import importlib
import sys

import atheris


def main() -> None:
    """Import the target with the mirror's code instrumented, and let the fuzzer call it."""
    # Imported first, or the instrumentation of a library would count as coverage of ours.
    with atheris.instrument_imports(include=["mirror"]):
        target = importlib.import_module(f"tests.fuzz.{sys.argv[1]}")
    atheris.Setup(sys.argv[1:], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
