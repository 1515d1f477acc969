"""huggingface_hub, asked only what it is told of a file: size, digest, and whether Xet is offered.

Older releases take the Xet hash from the head of a file, newer ones from the listing of its repo.
"""
# mypy: ignore-errors

import huggingface_hub

from tests.clients.scenarios.report import Report, task


def main():
    """Read the metadata of one file."""
    asked = task()

    def metadata():
        url = huggingface_hub.hf_hub_url(asked["repo_id"], asked["path"])
        found = huggingface_hub.get_hf_file_metadata(url, token=False)
        xet = getattr(found, "xet_file_data", None)
        return {"size": found.size, "etag": found.etag, "xet": xet and xet.file_hash}

    def listed():
        entries = huggingface_hub.HfApi().list_repo_tree(asked["repo_id"], token=False)
        return {entry.path: getattr(entry, "xet_hash", None) for entry in entries}

    report = Report()
    report.case("metadata", metadata)
    report.case("listed", listed)
    report.send()


if __name__ == "__main__":
    main()
