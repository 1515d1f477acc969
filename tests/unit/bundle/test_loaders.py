"""Which files each loader reads, of repos as publishers really lay them out."""

import pytest

from mirror.bundle.loaders import chosen
from mirror.errors import MirrorError

MINILM = (
    *(".gitattributes", "1_Pooling/config.json", "README.md", "config.json"),
    *("config_sentence_transformers.json", "data_config.json", "model.safetensors", "modules.json"),
    *("onnx/model.onnx", "onnx/model_O1.onnx", "openvino/openvino_model.bin", "pytorch_model.bin"),
    *("openvino/openvino_model.xml", "rust_model.ot", "sentence_bert_config.json", "tf_model.h5"),
    *(
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "train_script.py",
        "vocab.txt",
    ),
)
LARGE = (
    *("config.json", "generation_config.json", "tokenizer.model", "chat_template.jinja"),
    *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    *("model.safetensors.index.json", "consolidated.safetensors", "original/params.json"),
    *("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "LICENSE"),
    "additional_chat_templates/tool.jinja",
)
M3 = (
    *("config.json", "pytorch_model.bin", "colbert_linear.pt", "sentencepiece.bpe.model"),
    *("modules.json", "1_Pooling/config.json", "2_Dense/pytorch_model.bin", "2_Dense/config.json"),
    *("onnx/model.onnx_data", "imgs/miracl.jpg", "training_args.bin"),
)
PIPELINE = (
    *("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
    *("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin"),
    *("text_encoder/model.safetensors", "text_encoder/pytorch_model.bin", "v1-5.ckpt"),
    *("vae/diffusion_pytorch_model.bin", "scheduler/scheduler_config.json", "v1-5.safetensors"),
    *("tokenizer/vocab.json", "tokenizer/merges.txt", "README.md"),
)
QUANTISED = (
    *("llama-Q4_K_M.gguf", "llama-Q4_K_S.gguf", "llama-Q4_K_M-imat.txt", "llama.Q8_0.gguf"),
    *("IQ4_XS/llama-IQ4_XS-00001-of-00002.gguf", "IQ4_XS/llama-IQ4_XS-00002-of-00002.gguf"),
    "mmproj-F16.gguf",
)


def test_transformers_reads_safetensors_and_what_is_beside_them() -> None:
    """Neither other formats, nor folders, nor what is for people."""
    assert chosen("transformers", MINILM, "x") == {
        *(
            "config.json",
            "config_sentence_transformers.json",
            "data_config.json",
            "model.safetensors",
        ),
        *("modules.json", "sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json"),
        *("tokenizer_config.json", "train_script.py", "vocab.txt"),
    }


def test_transformers_reads_all_shards_and_their_list() -> None:
    """And templates, but not what other programs read."""
    assert chosen("transformers", LARGE, "x") == {
        *("config.json", "generation_config.json", "tokenizer.model", "chat_template.jinja"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "additional_chat_templates/tool.jinja"),
    }


def test_sentence_transformers_falls_back_to_pytorch_in_each_module() -> None:
    """A repo that has nothing but ``.bin`` works."""
    assert chosen("sentence-transformers", M3, "x") == {
        *("config.json", "pytorch_model.bin", "sentencepiece.bpe.model", "modules.json"),
        *("1_Pooling/config.json", "2_Dense/pytorch_model.bin", "2_Dense/config.json"),
    }


def test_diffusers_reads_each_component() -> None:
    """The preferred format of each, no variant, and no single file of all."""
    assert chosen("diffusers", PIPELINE, "x") == {
        *("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        *("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.bin"),
        *("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"),
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Q4_K_M", {"llama-Q4_K_M.gguf"}),
        ("q8_0", {"llama.Q8_0.gguf"}),
        ("IQ4_XS", set(QUANTISED[4:6])),
    ],
)
def test_gguf_finds_a_quantisation_by_its_whole_name(wanted: str, found: set[str]) -> None:
    """In every part; a name that only begins alike is another."""
    assert chosen(f"gguf:{wanted}", QUANTISED, "x") == found


def test_what_cannot_be_loaded_is_refused_with_what_there_is() -> None:
    """The message names the quantisations, or the weights in other formats."""
    with pytest.raises(MirrorError, match=r"no quantisation 'Q4_K'.*Q4_K_M, Q4_K_S, Q8_0"):
        chosen("gguf:Q4_K", QUANTISED, "x")
    with pytest.raises(MirrorError, match=r"It has tf_model.h5"):
        chosen("transformers", ("config.json", "tf_model.h5"), "x")
    with pytest.raises(MirrorError, match=r"no model_index.json"):
        chosen("diffusers", MINILM, "x")
