"""huggingface_hub with a tree that it listed before it was pointed at the mirror.

The library keeps the tree of a commit with its Xet hashes and later goes by them to the content
store that the token route names, without a HEAD and without a way back to plain HTTP.
"""
# mypy: ignore-errors

from huggingface_hub import constants, snapshot_download

from tests.clients.scenarios.report import Report, digests, task


def main():
    """Download the part of a repo that the task names; with a lower bound of what HTTP may carry."""
    asked = task()
    if asked["http_limit"] is not None:
        constants.MAX_HTTP_DOWNLOAD_SIZE = asked["http_limit"]
    report = Report()
    report.case(
        "snapshot",
        lambda: digests(
            snapshot_download(
                asked["repo_id"],
                allow_patterns=asked["patterns"],
                token=asked["token"],
            ),
        ),
    )
    report.send()


if __name__ == "__main__":
    main()
