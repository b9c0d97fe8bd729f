"""Makes the inputs of cases that are not text; what it makes is kept beside the cases.

    pip install pyarrow fastavro && python make_inputs.py
"""

import bz2
import datetime as dt
import decimal
import pathlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
UTC = dt.timezone.utc


def parquet(case, table):
    (HERE / case).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, HERE / case / "t.parquet")


def avro(case, schema, rows, **how):
    (HERE / case).mkdir(parents=True, exist_ok=True)
    with open(HERE / case / "t.avro", "wb") as file:
        fastavro.writer(file, schema, rows, sync_marker=b"flowgate flowgat", **how)


parquet(
    "files/parquet",
    pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int32()),
            "big": pa.array([2**63 - 1, -(2**63), None], pa.int64()),
            "x": pa.array([0.1, -0.0, None], pa.float64()),
            "t": pa.array(["Łódź", "", None]),
            "b": pa.array([True, False, None]),
            "d": pa.array([dt.date(2024, 2, 29), dt.date(1, 1, 1), None]),
            "ts": pa.array(
                [dt.datetime(2024, 2, 29, 12, 0, 0, 123456), dt.datetime(1969, 12, 31, 23, 59, 59, 999999), None],
                pa.timestamp("us"),
            ),
            "tz": pa.array(
                [dt.datetime(2024, 2, 29, 10, tzinfo=UTC), dt.datetime(9999, 12, 31, tzinfo=UTC), None],
                pa.timestamp("us", "UTC"),
            ),
            "dec": pa.array(
                [
                    decimal.Decimal("1234567890123456789012345678.0123456789"),
                    decimal.Decimal("-0.0000000001"),
                    None,
                ],
                pa.decimal128(38, 10),
            ),
            "u": pa.array([2**32 - 1, 0, None], pa.uint32()),
        }
    ),
)
parquet(
    "files/parquet_nested",
    pa.table(
        {
            "id": [1, 2],
            "l": pa.array([[1, None, 3], []], pa.list_(pa.int64())),
            "o": pa.array([{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        }
    ),
)
parquet("files/parquet_too_large", pa.table({"id": [1, 2], "n": [5, 70000]}))

RECORD = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "big", "type": ["null", "long"]},
        {"name": "x", "type": ["null", "double"]},
        {"name": "t", "type": ["null", "string"]},
        {"name": "b", "type": ["null", "boolean"]},
        {"name": "d", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "tz", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {
            "name": "dec",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}],
        },
    ],
}
ROWS = [
    {
        "id": 1,
        "big": 2**63 - 1,
        "x": 0.1,
        "t": "Łódź",
        "b": True,
        "d": dt.date(2024, 2, 29),
        "tz": dt.datetime(2024, 2, 29, 10, tzinfo=UTC),
        "dec": decimal.Decimal("-1234567890123456.7890"),
    },
    {key: None for key in ("big", "x", "t", "b", "d", "tz", "dec")} | {"id": 2},
]
avro("files/avro", RECORD, ROWS)
avro("files/avro_deflate", RECORD, ROWS, codec="deflate")

for case, name, text in [
    ("files/bz2", "t.csv.bz2", "id,a\n1,x\n2,y\n"),
    ("files/bz2_by_content", "t.csv", "id,a\n1,x\n"),
]:
    (HERE / case).mkdir(parents=True, exist_ok=True)
    (HERE / case / name).write_bytes(bz2.compress(text.encode()))
