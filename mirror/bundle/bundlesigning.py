"""Signatures over a bundle's manifest, made and checked by ``ssh-keygen -Y`` (ssh-keygen(1)).

Whoever can sign a commit of git can sign a bundle: with a key file, a hardware token or an agent.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from mirror.bundle.bundletar import BundleError
from mirror.errors import QuestionError

# Keeps a signature over something else, a mail or a commit, from standing for one over a bundle.
NAMESPACE: Final = "modelmirror-bundle"

_TIMEOUT: Final = 60
_PRINCIPAL: Final = re.compile(r"[^\s\x00-\x1f]{1,255}\Z")


def sign(manifest: bytes, key: Path) -> bytes:
    """Sign *manifest* with the private key in *key*, or with the agent's of which *key* is the public one.

    Raises `QuestionError` where that cannot be. The passphrase is asked for at the terminal.
    """
    program = _program()
    done = subprocess.run(  # noqa: S603 -- no shell; a path of the operator's own
        [program, "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE],
        input=manifest,
        capture_output=True,
        check=False,
    )
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise QuestionError(
            f"The bundle cannot be signed with {key}: {_said(done.stderr)}.",
            hint="Make a key: ssh-keygen -t ed25519 -f bundle_key",
        )
    return done.stdout


def check(manifest: bytes, signature: bytes, signers: Path, folder: Path) -> str:
    """Who signed *manifest*, one of those in *signers* (ssh-keygen(1), "ALLOWED SIGNERS").

    *folder* is where the signature may lie meanwhile. Raises `BundleError` for any other.
    """
    program = _program()
    kept = folder / "signature"
    kept.write_bytes(signature)
    try:
        found = _run([program, "-Y", "find-principals", "-s", str(kept), "-f", str(signers)], b"")
        names = found.stdout.decode("utf-8", "replace").splitlines()
        for name in names:
            if found.returncode or not _PRINCIPAL.match(name):
                continue
            words = ["-Y", "verify", "-f", str(signers), "-I", name, "-n", NAMESPACE]
            if not _run([program, *words, "-s", str(kept)], manifest).returncode:
                return name
        whose = _run(
            [program, "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(kept)], manifest
        )
    finally:
        kept.unlink(missing_ok=True)
    if whose.returncode:
        raise BundleError(
            "Its signature is not one over this manifest: either was changed on the way.",
            hint="Have it made and signed again.",
        )
    key = whose.stdout.decode("utf-8", "replace").strip().rpartition(" ")[2]
    raise BundleError(
        f"It is signed with the key {key}, which is none of those in {signers}.",
        hint=f'If that is the sender\'s, add a line to {signers}: "NAME ssh-ed25519 AAAA…".',
    )


def _run(words: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 -- no shell; names were held against a grammar
            words, input=data, capture_output=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BundleError(f"Its signature cannot be checked: {error}.") from error


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise QuestionError(
            "There is no ssh-keygen here, which signs bundles and checks their signatures.",
            hint="Install it: apt-get install openssh-client",
        )
    return found


def _said(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else "ssh-keygen does not say why"
