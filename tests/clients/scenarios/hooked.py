"""huggingface_hub with no endpoint set: whatever it fetches, the start-up hook led it there.

A second endpoint is what Pix2Text and cnstd name in their calls, whatever is set.
"""
# mypy: ignore-errors

import sys

import huggingface_hub
from huggingface_hub import constants

from tests.clients.scenarios.report import Report, digest, digests, task


def main():
    """Fetch a repo whole, a file of a private one, one that is not there, and one by another endpoint."""
    asked = task()

    def snapshot():
        return digests(huggingface_hub.snapshot_download(asked["repo_id"], token=False))

    def private(token):
        options = {"cache_dir": f"{asked['folder']}-{token}", "token": token}
        return digest(huggingface_hub.hf_hub_download(asked["private"], asked["path"], **options))

    def elsewhere():
        options = {
            "endpoint": "https://hf-mirror.com",
            "local_dir": asked["folder"],
            "token": False,
        }
        return digest(huggingface_hub.hf_hub_download(asked["repo_id"], asked["path"], **options))

    report = Report()
    report.case("endpoint", lambda: constants.ENDPOINT)
    report.case("snapshot", snapshot)
    report.case(
        "listed", lambda: sorted(huggingface_hub.list_repo_files(asked["repo_id"], token=False))
    )
    report.case("private", lambda: private(asked["token"]))
    report.case("private to another", lambda: private(asked["other"]))
    report.case(
        "missing", lambda: huggingface_hub.hf_hub_download(asked["repo_id"], "none", token=False)
    )
    report.case("elsewhere", elsewhere)
    report.case("hook", sys.modules["modelmirror_hook"].installed)
    report.send()


if __name__ == "__main__":
    main()
