"""Writes the Parquet files that the origin publishes; the mirror's own environment cannot."""
# mypy: ignore-errors

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from tests.clients.scenarios.report import Report, task


def main():
    """Write one file of numbered rows per split."""
    asked = task()
    report = Report()

    def write():
        folder = Path(asked["folder"])
        for split, rows in asked["splits"].items():
            table = pa.table(
                {
                    "text": [f"row {number}" for number in range(rows)],
                    "label": pa.array((number % 2 for number in range(rows)), pa.int64()),
                },
            )
            parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")

    report.case("written", write)
    report.send()


if __name__ == "__main__":
    main()
