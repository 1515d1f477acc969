"""Starts the hook where this folder is on ``PYTHONPATH``, then what this file stands in front of.

An interpreter runs the first ``sitecustomize`` that it finds, and no other (``Lib/site.py``). So the next one
on ``sys.path`` is run from here, as if it had been the first. Whatever happens, the interpreter starts.
"""

import os
import sys


def _start_hook() -> None:
    """Start the hook, if the environment names a mirror."""
    if "MODELMIRROR_URL" not in os.environ:
        return
    try:
        import modelmirror_hook  # only where it is wanted

        modelmirror_hook.start()
    except Exception as error:  # noqa: BLE001 -- a file that is cut short is no reason not to start
        if sys.stderr is not None:
            sys.stderr.write(
                "modelmirror: the start-up hook in %s could not be loaded (%s: %s); fetch it again.\n"
                % (os.path.dirname(__file__), type(error).__name__, error)
            )
        strict = os.environ.get("MODELMIRROR_STRICT", "").strip().lower()
        if strict in ("1", "true", "yes", "on"):
            _refuse_all()


def _refuse_all() -> None:
    """Let no name be looked up: which hosts must not be asked is in the file that could not be loaded."""
    import socket  # only after a failure

    def getaddrinfo(host: object, *_args: object, **_kwargs: object) -> object:
        raise PermissionError(
            13,
            "MODELMIRROR_STRICT: %s is not asked, because the start-up hook that leads requests to the "
            "mirror could not be loaded; mend it, or unset MODELMIRROR_STRICT" % (host,),
        )

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]


def _run_next() -> None:
    """Run the next ``sitecustomize`` on ``sys.path``; what it raises is its own, and goes on."""
    here = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find("sitecustomize", others) if find else None
        if spec is not None and spec.loader is not None:
            module = type(sys)("sitecustomize")
            module.__spec__, module.__loader__ = spec, spec.loader
            module.__file__, module.__package__ = spec.origin, ""
            sys.modules["sitecustomize"] = module
            spec.loader.exec_module(module)
            return


_start_hook()
_run_next()
