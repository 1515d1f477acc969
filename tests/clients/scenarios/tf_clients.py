"""TensorFlow Hub and kagglehub, called as their users call them.

The task names what to fetch; what it does not name is left out.
"""
# mypy: ignore-errors

from tests.clients.scenarios.report import Report, digests, task


def resolve(handle):
    """Say which folder a handle is, and what is in it."""
    import tensorflow_hub as hub  # noqa: PLC0415

    return digests(hub.resolve(handle))


def load(handle):
    """Load a model and run it."""
    import tensorflow as tf  # noqa: PLC0415
    import tensorflow_hub as hub  # noqa: PLC0415

    return hub.load(handle)(tf.constant([1.0, 2.0])).numpy().tolist()


def kaggle(handle):
    """Download a model by its handle at Kaggle."""
    import kagglehub  # noqa: PLC0415

    return digests(kagglehub.model_download(handle))


def main():
    """Run what the task names, in its order."""
    report = Report()
    for name, call, handle in task():
        report.case(name, lambda call=call, handle=handle: globals()[call](handle))
    report.send()


if __name__ == "__main__":
    main()
