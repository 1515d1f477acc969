"""Small models that stand in for those of a story, each made by the library that reads it."""
# mypy: ignore-errors

from pathlib import Path

from tests.clients.scenarios import torch_models
from tests.clients.scenarios.report import Report, task


def whisper(folder):
    """Whisper's `base` and `medium`: narrow, but with their layers and heads; the sha256 of each."""
    models = (("base", 6, 8), ("medium", 24, 16))
    return {model[0]: torch_models.whisper_model(folder, *model) for model in models}


def siglip(folder):
    """SigLIP with its tokenizer and image processor, in the files that transformers reads."""
    import io  # noqa: PLC0415

    import sentencepiece  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        SiglipProcessor,
        SiglipTokenizer,
    )

    torch.manual_seed(1)
    at = folder / "siglip"
    at.mkdir()
    sentences = io.StringIO("a face in the crowd\nnobody is there\na street at night\n" * 20)
    with (at / "spiece.model").open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=model,
            vocab_size=24,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    tokenizer = SiglipTokenizer(str(at / "spiece.model"), model_max_length=16)
    images = SiglipImageProcessor(size={"height": 28, "width": 28})
    SiglipProcessor(images, tokenizer).save_pretrained(at)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "num_attention_heads": 2}
    vision = {"image_size": 28, "patch_size": 14, "num_attention_heads": 2}
    config = SiglipConfig(text_config={**small, **text}, vision_config={**small, **vision})
    SiglipModel(config).save_pretrained(at)
    return sorted(path.name for path in at.iterdir())


def yunet(folder):
    """What OpenCV's detector takes for YuNet: its input, and each output from one convolution."""
    import numpy as np  # noqa: PLC0415
    import onnx  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    size, nodes, weights, outputs = 320, [], [], []
    random = np.random.default_rng(1)
    for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            of = f"{name}_{stride}"
            kernel = random.normal(0, 1e-5, (channels, 3, stride, stride)).astype(np.float32)
            weights.append(numpy_helper.from_array(kernel, f"{of}.weight"))
            shape = np.array([1, -1, channels], np.int64)
            weights.append(numpy_helper.from_array(shape, f"{of}.shape"))
            inputs = ["input", f"{of}.weight"]
            nodes.append(
                helper.make_node(
                    "Conv", inputs, [f"{of}.a"], strides=[stride] * 2, kernel_shape=[stride] * 2
                )
            )
            nodes.append(helper.make_node("Transpose", [f"{of}.a"], [f"{of}.b"], perm=[0, 2, 3, 1]))
            last = f"{of}.c" if channels == 1 else of
            nodes.append(helper.make_node("Reshape", [f"{of}.b", f"{of}.shape"], [last]))
            if channels == 1:
                nodes.append(helper.make_node("Sigmoid", [last], [of]))
            count = (size // stride) ** 2
            outputs.append(
                helper.make_tensor_value_info(of, TensorProto.FLOAT, [1, count, channels])
            )
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, weights)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "yunet.onnx")


def yamnet(folder):
    """What is called as YAMNet is, with as many classes, packed as TF Hub has it."""
    import tarfile  # noqa: PLC0415

    import tensorflow as tf  # noqa: PLC0415

    class Yamnet(tf.Module):
        """Scores, embeddings and a spectrogram of 16 kHz sound."""

        def __init__(self):
            super().__init__()
            self.scores = tf.Variable(tf.random.stateless_uniform([1, 521], (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, waveform):
            frames = tf.maximum(tf.shape(waveform)[0] // 7680, 1)
            return (
                tf.repeat(self.scores, frames, axis=0),
                tf.zeros([frames, 1024]),
                tf.zeros([1, 64]),
            )

    tf.saved_model.save(Yamnet(), str(folder / "yamnet"))
    with tarfile.open(folder / "yamnet.tar.gz", "w:gz") as archive:
        for path in sorted((folder / "yamnet").rglob("*")):
            archive.add(path, path.relative_to(folder / "yamnet"), recursive=False)


def speaker(folder):
    """A speaker model; its files come into `ecapa`."""
    return torch_models.speaker_model(folder)


def checkpoint(folder):
    """A checkpoint of PyTorch's; its name."""
    return torch_models.checkpoint(folder)


def sentences(folder):
    """A sentence model; its files come into `sentences`."""
    return torch_models.sentence_model(folder)


def main():
    """Make those that are asked for."""
    asked = task()
    report = Report()
    for name in asked["models"]:
        make = globals()[name]
        report.case(name, lambda make=make: make(Path(asked["folder"])))
    report.send()


if __name__ == "__main__":
    main()
