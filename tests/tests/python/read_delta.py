"""Reads a Delta table with DuckDB and with the deltalake package: one JSON object with the rows of both, by `id`."""

import datetime
import decimal
import json
import pathlib
import struct
import sys

import deltalake
import duckdb
import duckdb_extension_delta

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value):
    """A value as JSON has it, with nothing lost: instants as microseconds since 1970, decimals and dates as text, and
    floating point numbers as the whole number that has the same bits."""
    match value:
        case datetime.datetime() if value.tzinfo is not None:
            return (value - EPOCH) // MICROSECOND
        case datetime.datetime() | datetime.date():
            return value.isoformat()
        case decimal.Decimal():
            return str(value)
        case float():
            return struct.unpack("<q", struct.pack("<d", value))[0]
        case _:
            return value


def rows(names, records):
    found = [dict(zip(names, map(plain, record))) for record in records]
    return sorted(found, key=lambda row: row["id"])


def by_duckdb(table, instants):
    extension = next(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("*.duckdb_extension"))
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    # Python's own type for an instant would need another package.
    replaced = ", ".join(f'epoch_us("{name}") AS "{name}"' for name in instants)
    replaced = f"REPLACE ({replaced})" if replaced else ""
    result = connection.execute(f"SELECT * {replaced} FROM delta_scan(?)", [table])
    return rows([column[0] for column in result.description], result.fetchall())


def by_deltalake(table):
    found = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table)).execute("SELECT * FROM t").read_all()
    return rows(found.column_names, zip(*(column.to_pylist() for column in found.columns)))


def types(table):
    return {field.name: field.type.type for field in deltalake.DeltaTable(table).schema().fields}


def main(table):
    found = types(table)
    instants = [name for name, kind in found.items() if kind == "timestamp"]
    answer = {"types": found, "duckdb": by_duckdb(table, instants), "deltalake": by_deltalake(table)}
    json.dump(answer, sys.stdout, ensure_ascii=False)


main(sys.argv[1])
