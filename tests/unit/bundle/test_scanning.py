"""What a project needs is seen in its files, and none of them is run."""

from pathlib import Path

import pytest

from mirror.bundle import projects
from mirror.bundle.scancode import sights
from mirror.bundle.scanning import listing, scan
from mirror.errors import QuestionError

DOCKERFILE = r"""FROM python:3.12
ENV EMBEDDING_MODEL=BAAI/bge-m3
ENV WHISPER_MODEL="medium"
RUN pip install -r requirements.txt && python -m spacy download de_core_news_lg
RUN python -c "from sentence_transformers import SentenceTransformer; \
    SentenceTransformer('all-MiniLM-L6-v2')"
RUN hf download acme/weights config.json --revision v1 && \
    huggingface-cli download acme/words --repo-type dataset --include "*.csv" "*.json"
RUN python -m nltk.downloader punkt_tab stopwords
ADD https://github.com/opencv/opencv_zoo/raw/main/models/yunet/yunet_2023mar.onnx /models/
"""
CODE = """
import os
import tensorflow_hub as hub
import torch
import whisper as w
from transformers import AutoModel, pipeline

NAME = "google/siglip-so400m-patch14-384"
OTHER = os.environ.get("RERANKER", "BAAI/bge-reranker-v2-m3")

def load(model_name="acme/by-default"):
    AutoModel.from_pretrained(NAME, revision="v2")
    AutoModel.from_pretrained(OTHER)
    AutoModel.from_pretrained(model_name)
    AutoModel.from_pretrained("./models/local")
    AutoModel.from_pretrained(sys.argv[1])
    pipeline("text-classification", model="oliverguhr/german-sentiment-bert")
    w.load_model("base")
    hub.load("https://tfhub.dev/google/yamnet/1")
    torch.hub.load("pytorch/vision:v0.10.0", "resnet18")
    keras.models.load_model("base.keras")
    fetch(f"https://download.pytorch.org/models/resnet{depth}.pth", "https://tfhub.dev/google/{}")
    hf_hub_download(repo_id="acme/one", filename="onnx/model.onnx")
"""


def project(folder: Path) -> Path:
    """An app, with what is not its own beside it."""
    for name, text in {
        "Dockerfile": DOCKERFILE,
        "app/load.py": CODE,
        "app/broken.py": "def (",
        "requirements.txt": "numpy\nde-core-news-sm==3.8.0\n",
        "compose.yaml": "services:\n  app:\n    environment:\n      MODEL_NAME: acme/composed\n",
        "venv/lib/site.py": 'AutoModel.from_pretrained("not/ours")\n',
        "notes.ipynb": '{"cells": [{"cell_type": "code", "source": ["!pip install x\\n", '
        '"x.from_pretrained(\\"acme/noted\\")"]}]}',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_a_project_is_read_file_by_file(tmp_path: Path) -> None:
    """Each target has the places that need it; what cannot be followed is told."""
    found = scan(project(tmp_path))
    assert found.targets == {
        '"BAAI/bge-m3"': ("Dockerfile:2",),
        '"BAAI/bge-reranker-v2-m3"': ("app/load.py:13",),
        '"acme/by-default"': ("app/load.py:14",),
        '"acme/composed"': ("compose.yaml:4",),
        '"acme/noted"': ("notes.ipynb:2",),
        '"google/siglip-so400m-patch14-384@v2"': ("app/load.py:12",),
        '"https://github.com/opencv/opencv_zoo/raw/main/models/yunet/yunet_2023mar.onnx"': (
            "Dockerfile:10",
        ),
        '"nltk:punkt_tab"': ("Dockerfile:9",),
        '"nltk:stopwords"': ("Dockerfile:9",),
        '"oliverguhr/german-sentiment-bert"': ("app/load.py:17",),
        '"sentence-transformers/all-MiniLM-L6-v2"': ("Dockerfile:5",),
        '"spacy:de_core_news_lg"': ("Dockerfile:4",),
        '"spacy:de_core_news_sm==3.8.0"': ("requirements.txt:2",),
        '"tfhub:google/yamnet/1"': ("app/load.py:19",),
        '"torchhub:pytorch/vision:v0.10.0"': ("app/load.py:20",),
        '"whisper:base"': ("app/load.py:18",),
        '"whisper:medium"': ("Dockerfile:3",),
        '{ target = "acme/one", include = ["onnx/model.onnx"] }': ("app/load.py:23",),
        '{ target = "acme/weights@v1", include = ["config.json"] }': ("Dockerfile:7",),
        '{ target = "dataset:acme/words", include = ["*.csv", "*.json"] }': ("Dockerfile:8",),
    }
    assert found.unclear == ("app/load.py:16 transformers.AutoModel.from_pretrained(…)",)


def test_what_is_found_is_a_group_of_models_toml(tmp_path: Path) -> None:
    """It can be read as one as it stands."""
    path = tmp_path / "models.toml"
    text = listing(scan(project(tmp_path / "app x")), "app x")
    path.write_text(text, encoding="utf-8")
    assert len(projects.read(path, ["app x"])) == 20
    assert "# Dockerfile:4" in text


def test_nothing_is_run(tmp_path: Path) -> None:
    """A source that would write a file when it is imported writes none."""
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(
        f"open({str(mark)!r}, 'w')\n__import__('os').system('touch {mark}')\n", encoding="utf-8"
    )
    scan(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("source", ["(" * 50_000, "x = '\\0'\0", "\ud800", "f'{'"])
def test_what_is_no_python_is_passed_over(source: str) -> None:
    """However it is broken."""
    assert list(sights(source)) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """With a sentence."""
    with pytest.raises(QuestionError, match="is no folder"):
        scan(tmp_path / "nowhere")
