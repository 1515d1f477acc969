"""A small SavedModel, made by TensorFlow and packed as the move to Kaggle left many: without its folders."""
# mypy: ignore-errors

import tarfile
from pathlib import Path

from tests.clients.scenarios.report import Report, digests, task


def saved_model(folder):
    """Save a model with a variable, so that it has a folder that TensorFlow Hub does not make by itself."""
    import tensorflow as tf  # noqa: PLC0415

    class Scale(tf.Module):
        """Multiplies by three."""

        def __init__(self):
            super().__init__()
            self.factor = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, values):
            return values * self.factor

    saved = folder / "saved"
    tf.saved_model.save(Scale(), str(saved))
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        for path in sorted(saved.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(saved))
    return digests(saved)


def main():
    """Make it."""
    folder = Path(task()["folder"])
    report = Report()
    report.case("saved_model", lambda: saved_model(folder))
    report.send()


if __name__ == "__main__":
    main()
