"""A corpus of NLTK's, as its index and its files are published."""

import hashlib
import io
import zipfile
from typing import Final

from tests.hosts import Hosts

RAW: Final = "raw.githubusercontent.com"
_DATA: Final = "/nltk/nltk_data/gh-pages"


def publish_stopwords(hosts: Hosts) -> None:
    """Publish English stopwords: "a" and "the"."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("stopwords/english", "a\nthe\n")
    data = packed.getvalue()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = f"{_DATA}/packages/corpora/stopwords.zip"
    line = (
        f'<package id="stopwords" name="Stopwords" subdir="corpora" unzip="1" url="https://{RAW}{path}" '
        f'size="{len(data)}" unzipped_size="6" checksum="{md5}" '
        f'sha256_checksum="{hashlib.sha256(data).hexdigest()}" />'
    )
    index = f'<?xml version="1.0"?><nltk_data><packages>{line}</packages></nltk_data>'
    hosts.put(RAW, f"{_DATA}/index.xml", index.encode())
    hosts.put(RAW, path, data)
