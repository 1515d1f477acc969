"""Small models under the names of those that read German, each made by the library that reads it."""
# mypy: ignore-errors

from pathlib import Path

from tests.clients.scenarios import spacy_models
from tests.clients.scenarios.report import Report, digests, task

_WORDS = (
    "▁",
    "▁Der",
    "▁Die",
    "▁Wo",
    "▁Spiegel",
    "▁Verbindung",
    "▁ist",
    "▁schön",
    "▁langsam",
    "s",
    "e",
    "n",
    ".",
)


def pipeline(folder):
    """Pack a German pipeline that splits sentences, under the name of the large German model."""
    return spacy_models.pipeline(folder, "de", "core_news_lg")


def _tokenizer(folder):
    """Write a tokenizer of XLM-RoBERTa's kind with a few words."""
    from transformers import XLMRobertaTokenizer  # noqa: PLC0415

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab = [*special, *((word, -float(n)) for n, word in enumerate(_WORDS, 1)), ("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=vocab).save_pretrained(folder)
    return len(vocab)


def _encoder(folder):
    """Write an encoder of XLM-RoBERTa's kind with random weights, and return it."""
    import torch  # noqa: PLC0415
    from transformers import XLMRobertaConfig, XLMRobertaModel  # noqa: PLC0415

    torch.manual_seed(1)
    config = XLMRobertaConfig(
        vocab_size=_tokenizer(folder),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=66,
    )
    made = XLMRobertaModel(config)
    made.save_pretrained(folder)
    return made


def _sentences(folder, name):
    """Write an encoder as sentence-transformers has it."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer  # noqa: PLC0415

    plain = folder / f"{name}-plain"
    made = _encoder(plain)
    words = Transformer(str(plain))
    pooling = Pooling(16)
    SentenceTransformer(modules=[words, pooling], device="cpu").save(str(folder / name))
    return made


def mpnet(folder):
    """A sentence model with weights in safetensors."""
    _sentences(folder, "mpnet")
    return digests(folder / "mpnet")


def bge(folder):
    """A sentence model with weights in a pickle alone, as BAAI/bge-m3 has them."""
    import torch  # noqa: PLC0415

    made = _sentences(folder, "bge")
    (folder / "bge" / "model.safetensors").unlink()
    torch.save(made.state_dict(), folder / "bge" / "pytorch_model.bin")
    return digests(folder / "bge")


def mood(folder):
    """A classifier that finds each text negative, neutral or positive."""
    import torch  # noqa: PLC0415
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer  # noqa: PLC0415

    torch.manual_seed(1)
    at = folder / "mood"
    at.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(word.strip("▁") for word in _WORDS[1:]),
    ]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(at)
    labels = {0: "positive", 1: "negative", 2: "neutral"}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(at)
    return digests(at)


def main():
    """Make them all."""
    folder = Path(task()["folder"])
    report = Report()
    for make in (pipeline, mpnet, bge, mood):
        report.case(make.__name__, lambda make=make: make(folder))
    report.send()


if __name__ == "__main__":
    main()
