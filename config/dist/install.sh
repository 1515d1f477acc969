#!/bin/sh
# Installs modelmirror from the folder that this script is in, without asking any network.
#
#   sh install.sh [FOLDER]        default: /opt/modelmirror as root, else ~/.local/lib/modelmirror
#   PYTHON=/usr/bin/python3.12 sh install.sh       with that Python
#
# FOLDER becomes a virtual environment. Run again, it installs over what is there, which is an upgrade.
# Models, settings and whatever else is not the program are never in it.
set -eu

say() { printf 'modelmirror: %s\n' "$1" >&2; }
fail() { say "$1"; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
version=$(cat "$here/VERSION")
pythons=$(cat "$here/PYTHONS")
if [ "$(id -u)" = 0 ]; then folder=/opt/modelmirror; else folder=${HOME:-}/.local/lib/modelmirror; fi
folder=${1:-$folder}

# What came through is what was sent. Who sent it, a checksum beside the files cannot say.
command -v sha256sum >/dev/null || fail 'There is no sha256sum here; install coreutils.'
(cd "$here" && sha256sum --check --quiet --strict SHA256SUMS >&2) ||
    fail "This copy is damaged: the files above are not what they were. Nothing was installed; copy it again."

release() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
fits() { for one in $pythons; do [ "$one" != "$1" ] || return 0; done; return 1; }

if [ -n "${PYTHON:-}" ]; then
    found=$(release "$PYTHON") || fail "$PYTHON is no Python that runs here."
    fits "$found" || fail "$PYTHON is Python $found; the packages in this folder are for $pythons."
else
    for name in python3 $(for one in $pythons; do printf 'python%s ' "$one"; done); do
        if found=$(release "$name") && fits "$found"; then PYTHON=$name; break; fi
    done
    [ -n "${PYTHON:-}" ] ||
        fail "None of Python $pythons is here. Install one, or name it: PYTHON=/path/to/python3 sh install.sh"
fi

if [ -d "$folder" ] && [ ! -e "$folder/pyvenv.cfg" ] && [ -n "$(ls -A "$folder")" ]; then
    fail "$folder holds something else. Name another folder: sh install.sh FOLDER"
fi
say "installing $version in $folder with Python $found"
# Debian's Python has no pip of its own without python3-venv; the one in wheels/ does.
"$PYTHON" -m venv --without-pip "$folder" ||
    fail "No virtual environment can be made in $folder; the message above says why."
set -- "$here"/wheels/pip-*.whl
PIP_CONFIG_FILE=/dev/null "$folder/bin/python" "$1/pip" --isolated --disable-pip-version-check --no-input \
    --no-cache-dir install --quiet --no-index --find-links "$here/wheels" --require-hashes \
    --requirement "$here/requirements.txt" ||
    fail 'The packages could not be installed; the message above says why. Running this again is safe.'

"$folder/bin/modelmirror" --version
say "done; start it with: $folder/bin/modelmirror serve"
