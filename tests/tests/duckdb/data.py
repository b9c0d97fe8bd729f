"""Columns of each kind with the values that are hard to get right, and the files that hold them."""

import datetime as dt
import json
import uuid
from decimal import Decimal

# kind: (type in a source's options, type in DuckDB)
KINDS = {
    "id": ("bigint", "BIGINT"),
    "int": ("bigint", "BIGINT"),
    "big": ("bigint", "BIGINT"),
    "text": ("text", "VARCHAR"),
    "num": ("text", "VARCHAR"),
    "dec": ("decimal", "DECIMAL(38,10)"),
    "tame": ("double", "DOUBLE"),
    "wild": ("double", "DOUBLE"),
    "bool": ("boolean", "BOOLEAN"),
    "date": ("date", "DATE"),
    "ts": ("timestamp", "TIMESTAMP"),
    "i32": ("integer", "INTEGER"),
    "i16": ("smallint", "SMALLINT"),
    "real": ("real", "FLOAT"),
    "tstz": ("timestamptz", "TIMESTAMPTZ"),
    "json": ("json", "JSON"),
    "uuid": ("uuid", "UUID"),
}
# Those whose zero has a sign.
FLOATS = ("tame", "wild", "real")

BIG = [2**63 - 1, -(2**63), 2**63 - 2, 2**53 + 1, -(2**53) - 1, 0, -1, 1]
TEXTS = ["", " ", "a", "A", "b", "ab", "Zoë", "e\u0301", "漢字", "👩‍👧", "it's", 'say "hi"', "a,b", "x\ny", "r\r\nn", "tab\there",
         "null", "NULL", "NaN", "ada.b@example.org", "ü@ö.de", "a@b", "\\", "\\n", "%", "_", "-", "a-b-c", " padded ", "ÿ", "\u00a0", "\U0001f600", "0", "007", "${x}"]
NUMS = ["0", "1", "-1", "+5", "12.0", "12.5", "007", " 8 ", "x", "1e3", "2147483647", "2147483648", "-2147483648",
        "9223372036854775807", "9223372036854775808", "1.", ".5", "-", "", "true", "No", "t", "2024-02-29", "2023-02-29",
        "9999-12-31", "0001-01-01", "2024-1-1", "12.00", "-0"]
DECS = [Decimal(t) for t in ["0", "1", "-1", "0.0000000001", "-0.0000000001", "9999999999999999999999999999.9999999999",
        "-9999999999999999999999999999.9999999999", "0.1", "12.5", "100", "3.3333333333"]]
WILD = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.7976931348623157e308, 5e-324, 0.1, -0.1, 1.5, 2.0**53, 1e22]
DATES = [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2000, 2, 29),
         dt.date(1900, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1)]
TIMES = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1970, 1, 1),
         dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 2, 30), dt.datetime(2024, 2, 29, 12, 0, 0, 1)]
SINGLES = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 3.4028234663852886e38, 1.401298464324817e-45, 0.10000000149011612, -1.5, 2.0**24]
ZONES = [dt.timezone.utc, dt.timezone(dt.timedelta(hours=2)), dt.timezone(dt.timedelta(hours=-9, minutes=-30))]
INSTANTS = [time.replace(tzinfo=dt.timezone.utc) for time in TIMES]
UUIDS = [uuid.UUID(int=n) for n in (0, 1, 2**127, 2**128 - 1, 0x0123456789ABCDEF0123456789ABCDEF)]


class Json(str):
    """A text that is JSON."""


JSONS = [Json(text) for text in ['{}', '[]', '{"a":1}', '{"a":"x","b":[1,null,{"c":"ü"}]}', '{"b":{"a":[true,"007"]},"a":null}', '[1,"a",{}]',
         '{"a":"9223372036854775808"}', '{"a":" 8 ","b":["-0"]}', '{"a":{"a":""}}', '{"":"","a":"12.0"}']]


def value(random, kind, spread=0):
    """One value of a kind; often one that others have too, so that groups and joins meet. Where there are many rows, whole
    numbers are `spread`, so that joins do not meet too often."""
    if random.random() < 0.15:
        return None
    match kind:
        case "int":
            return random.randint(-5 - spread, 12 + spread)
        case "i32":
            return random.choice([2**31 - 1, -(2**31)]) if random.random() < 0.1 else random.randint(-5 - spread, 12 + spread)
        case "i16":
            return random.choice([2**15 - 1, -(2**15)]) if random.random() < 0.1 else random.randint(-5, 12)
        case "real":
            return random.choice(SINGLES)
        case "tstz":
            instant = random.choice(INSTANTS)
            # Such a clock has no year before 1 and none after 9999.
            return instant.astimezone(random.choice(ZONES)) if 1 < instant.year < 9999 else instant
        case "json":
            return random.choice(JSONS)
        case "uuid":
            return random.choice(UUIDS)
        case "big":
            return random.choice(BIG)
        case "text":
            return random.choice(TEXTS)
        case "num":
            return random.choice(NUMS)
        case "dec":
            return random.choice(DECS)
        case "tame":
            return random.randint(-400, 400) / 8
        case "wild":
            return random.choice(WILD)
        case "bool":
            return random.random() < 0.5
        case "date":
            return random.choice(DATES)
        case "ts":
            return random.choice(TIMES)
    raise ValueError(kind)


def source(random, name, large=False):
    """A source: its name, format, columns as (name, kind), the rows of a first run and of another one. It lies in some
    files of about equally many rows, whose names are in the order of the rows."""
    kinds = [kind for kind in KINDS if kind != "id"]
    columns = [("id", "id")]
    for number in range(random.randint(2, 6)):
        kind = random.choice(kinds)
        columns.append((f"{kind}{number if random.random() < 0.3 else ''}", kind))
    columns = list(dict(columns).items())
    form, parts = random.choice(["csv", "jsonl", "parquet"]), random.choice([1, 1, 1, 2, 3])
    count = random.choice([300, 1000, 2000, 4000] if large else [0, 1, 2, 5, 10, 20, 40])
    made = {"name": name, "format": form, "columns": columns, "parts": parts, "spread": count // 2 if large else 0}
    made["path"] = f"{name}.{form}" if parts == 1 else f"{name}_*.{form}"
    made["rows"] = [row(random, made, number + 1) for number in range(count)]
    made["again"] = again(random, made)
    return made


def row(random, source, number):
    cells = [number if kind == "id" else value(random, kind, source["spread"]) for _, kind in source["columns"]]
    # An empty field of a CSV file is null, for DuckDB as for us.
    return [None if cell == "" else cell for cell in cells] if source["format"] == "csv" else cells


def again(random, source):
    """Rows of a later run: some of those that were there, as they were or with other values, and some more."""
    rows = source["rows"][random.randint(0, len(source["rows"])):]
    rows = [old if random.random() < 0.6 else [old[0], *row(random, source, 0)[1:]] for old in rows]
    more = random.choice([0, 1, 3, len(rows)])
    return rows + [row(random, source, len(source["rows"]) + number + 1) for number in range(more)]


def files(source, rows):
    """The rows of each file, by the file's name."""
    if source.get("parts", 1) == 1:
        return {f"{source['name']}.{source['format']}": rows}
    size = max(1, -(-len(rows) // source["parts"]))
    return {f"{source['name']}_{part}.{source['format']}": rows[part * size:(part + 1) * size] for part in range(source["parts"])}


def places(source, rows):
    """Where each row is, by its id: the file's name and the number of the row in it, from 1."""
    return {cells[0]: (name, at + 1) for name, part in files(source, rows).items() for at, cells in enumerate(part)}


def write(con, source, rows, folder):
    """Writes a source's files; answers the SQL by which DuckDB reads them."""
    written = files(source, rows)
    for name, part in written.items():
        write_file(con, source, part, folder / name)
    paths = "[" + ", ".join(quote(folder / name) for name in written) + "]"
    types = {name: KINDS[kind][1] for name, kind in source["columns"]}
    match source["format"]:
        case "csv":
            return (f"read_csv({paths}, columns={structure(types)}, auto_detect=false, header=true, delim=',', "
                    "quote='\"', escape='\"', nullstr='', strict_mode=true, parallel=false)")
        case "jsonl":
            return f"read_json({paths}, columns={structure(types)}, format='newline_delimited')"
    ids = ", ".join(f'CAST("{name}" AS UUID) AS "{name}"' for name, kind in source["columns"] if kind == "uuid")
    return f"(SELECT *{f' REPLACE ({ids})' if ids else ''} FROM read_parquet({paths}))"


def write_file(con, source, rows, path):
    names = [name for name, _ in source["columns"]]
    if source["format"] == "csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(",".join(names) + "\n")
            for cells in rows:
                file.write(",".join(csv_field(cell) for cell in cells) + "\n")
    elif source["format"] == "jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for cells in rows:
                cells = {name: json_value(cell) for name, cell in zip(names, cells)}
                file.write(json.dumps(cells, ensure_ascii=len(rows) % 2 == 0) + "\n")
    else:
        # A file's UUIDs are texts, as those of the other formats are.
        types = {name: "VARCHAR" if kind == "uuid" else KINDS[kind][1] for name, kind in source["columns"]}
        fields = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
        con.execute(f"CREATE OR REPLACE TEMP TABLE written ({fields})")
        for at in range(0, len(rows), 500):
            values = ("(" + ", ".join("NULL" if cell is None else quote(plain(cell)) for cell in cells) + ")" for cells in rows[at:at + 500])
            con.execute(f"INSERT INTO written SELECT * FROM (VALUES {', '.join(values)})")
        con.execute(f"COPY written TO {quote(path)} (FORMAT parquet)")


def options(source):
    """The options of the source node: every column's type."""
    if source["format"] == "parquet":
        return None
    return {"columns": {name: KINDS[kind][0] for name, kind in source["columns"]}} | (
        {"nullValues": []} if source["format"] == "jsonl" else {})


def quote(text):
    return "'" + str(text).replace("'", "''") + "'"


def structure(types):
    return "{" + ", ".join(f"{quote(name)}: {quote(kind)}" for name, kind in types.items()) + "}"


def csv_field(cell):
    text = plain(cell)
    if isinstance(cell, str) and (cell != cell.strip() or any(c in cell for c in ',"\r\n')):
        return '"' + text.replace('"', '""') + '"'
    return text


def plain(cell):
    """A value as a text of a CSV file."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case float():
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(cell), repr(cell))
        case Decimal():
            return format(cell, "f")
        case dt.datetime():
            # The years of four digits that isoformat gives are those that everybody reads.
            return cell.isoformat(" " if cell.tzinfo is None else "T")
        case dt.date():
            return cell.isoformat()
    return str(cell)


def json_value(cell):
    if isinstance(cell, Json):
        return json.loads(cell)
    if isinstance(cell, float) and (cell != cell or cell in (float("inf"), float("-inf"))):
        return plain(cell)
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return cell
    return plain(cell)
