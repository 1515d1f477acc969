"""transformers, datasets and huggingface_hub, called one at a time as the test says, in one process.

A line on standard input names what to do and the file, a line of report answers: so upstream can go and
come between two calls without the libraries being loaded again.
"""
# mypy: ignore-errors

import json
import sys

from tests.clients.scenarios.report import Report, digests


def tokens(asked):
    """Tokenise."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    return AutoTokenizer.from_pretrained(asked["model"])("a mirror keeps what its")["input_ids"]


def snapshot(asked):
    """Have a whole repo."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    return digests(snapshot_download(asked["model"], token=False))


def rows(asked):
    """Load a table."""
    from datasets import load_dataset  # noqa: PLC0415

    return {split: table.num_rows for split, table in load_dataset(asked["table"]).items()}


def file(asked):
    """Have a file; what every cause of a refusal says is part of its text, as in a traceback."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    try:
        return hf_hub_download(*asked["file"], token=False)
    except Exception as error:
        texts, cause = [], error
        while cause is not None:
            texts.append(str(cause))
            cause = cause.__cause__ or cause.__context__
        raise type(error)("\n".join(texts)) from error


def main():
    """Do what each line says until there is none."""
    for line in sys.stdin:
        asked = json.loads(line)
        report = Report()
        report.case(asked["call"], lambda asked=asked: globals()[asked["call"]](asked))
        report.send()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
