"""Small models for what is built on PyTorch, each made by the library that reads it."""
# mypy: ignore-errors

from pathlib import Path

from tests.clients.scenarios.report import Report, digest, digests, task

#: The Hub's speechbrain/spkrec-ecapa-voxceleb, with channels few enough for a test.
_ECAPA = """
n_mels: 80
pretrained_path: speechbrain/spkrec-ecapa-voxceleb
out_n_neurons: 7
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 8
    lin_neurons: 12
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 12
    out_neurons: !ref <out_n_neurons>
mean_var_norm_emb: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
    std_norm: False
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    mean_var_norm_emb: !ref <mean_var_norm_emb>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        mean_var_norm_emb: !ref <mean_var_norm_emb>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        mean_var_norm_emb: !ref <pretrained_path>/mean_var_norm_emb.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""
_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "mirror", "keeps", "what", "it", "##s")


def whisper_model(folder, name="base", layers=6, heads=8):
    """A Whisper model with the layers and heads of *name*, whose alignment heads it is given when loaded."""
    import torch  # noqa: PLC0415
    from whisper.model import ModelDimensions, Whisper  # noqa: PLC0415

    dims = ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=8,
        n_audio_head=2,
        n_audio_layer=1,
        n_vocab=51865,
        n_text_ctx=448,
        n_text_state=2 * heads,
        n_text_head=heads,
        n_text_layer=layers,
    )
    path = folder / f"{name}.pt"
    torch.save({"dims": vars(dims), "model_state_dict": Whisper(dims).state_dict()}, path)
    return digest(path)


def checkpoint(folder):
    """A checkpoint whose name has the first digits of its sha256, as torchvision's have."""
    import torch  # noqa: PLC0415

    unnamed = folder / "checkpoint"
    torch.save({"weight": torch.arange(6.0).reshape(2, 3)}, unnamed)
    named = folder / f"small-{digest(unnamed)[:8]}.pth"
    unnamed.rename(named)
    return named.name


def speaker_model(folder):
    """A speaker model with random weights, in the files of spkrec-ecapa-voxceleb."""
    import torch  # noqa: PLC0415
    from hyperpyyaml import load_hyperpyyaml  # noqa: PLC0415

    torch.manual_seed(1)
    at = folder / "ecapa"
    at.mkdir()
    (at / "hyperparams.yaml").write_text(_ECAPA)
    made = load_hyperpyyaml(_ECAPA)
    for name in ("embedding_model", "classifier"):
        torch.save(made[name].state_dict(), at / f"{name}.ckpt")
    norm = made["mean_var_norm_emb"]
    norm(torch.randn(4, 1, 12), torch.ones(4))
    norm._save(at / "mean_var_norm_emb.ckpt")
    encoder = made["label_encoder"]
    encoder.update_from_iterable([f"id1000{number}" for number in range(7)])
    encoder.save(at / "label_encoder.txt")
    (at / "README.md").write_text("# Speaker verification\n")
    (at / "config.json").write_text('{"speechbrain_interface": "EncoderClassifier"}')
    return digests(at)


def sentence_model(folder):
    """A sentence model with random weights, saved by sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer, models  # noqa: PLC0415
    from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: PLC0415

    at = folder / "bert"
    at.mkdir()
    (at / "vocab.txt").write_text("\n".join(_WORDS) + "\n")
    config = BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(at)
    BertTokenizerFast(str(at / "vocab.txt")).save_pretrained(at)
    words = models.Transformer(str(at))
    pooling = models.Pooling(words.get_word_embedding_dimension())
    SentenceTransformer(modules=[words, pooling], device="cpu").save(str(folder / "sentences"))
    return digests(folder / "sentences")


def main():
    """Make them all."""
    folder = Path(task()["folder"])
    report = Report()
    for make in (whisper_model, checkpoint, speaker_model, sentence_model):
        report.case(make.__name__, lambda make=make: make(folder))
    report.send()


if __name__ == "__main__":
    main()
