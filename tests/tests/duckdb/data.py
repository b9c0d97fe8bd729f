"""Columns of each kind with the values that are hard to get right, and the files that hold them."""

import datetime as dt
import json
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
}

BIG = [2**63 - 1, -(2**63), 2**63 - 2, 2**53 + 1, -(2**53) - 1, 0, -1, 1]
TEXTS = ["", " ", "a", "A", "b", "ab", "Zoë", "e\u0301", "漢字", "👩‍👧", "it's", 'say "hi"', "a,b", "x\ny", "r\r\nn", "tab\there",
         "null", "NULL", "NaN", "\\", "\\n", "%", "_", "-", "a-b-c", " padded ", "ÿ", "\u00a0", "\U0001f600", "0", "007", "${x}"]
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


def value(random, kind):
    """One value of a kind; often one that others have too, so that groups and joins meet."""
    if random.random() < 0.15:
        return None
    match kind:
        case "int":
            return random.randint(-5, 12)
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


def source(random, name):
    """A source: its name, format, columns as (name, kind), and rows."""
    kinds = [kind for kind in KINDS if kind != "id"]
    columns = [("id", "id")]
    for number in range(random.randint(2, 6)):
        kind = random.choice(kinds)
        columns.append((f"{kind}{number if random.random() < 0.3 else ''}", kind))
    columns = list(dict(columns).items())
    form = random.choice(["csv", "jsonl", "parquet"])
    rows = []
    for number in range(random.choice([0, 1, 2, 5, 10, 20, 40])):
        row = [number + 1 if kind == "id" else value(random, kind) for _, kind in columns]
        if form == "csv":
            # An empty field of a CSV file is null, for DuckDB as for us.
            row = [None if cell == "" else cell for cell in row]
        rows.append(row)
    return {"name": name, "format": form, "columns": columns, "rows": rows}


def write(con, source, folder):
    """Writes a source's file; answers the SQL by which DuckDB reads it."""
    path = folder / f"{source['name']}.{source['format']}"
    names = [name for name, _ in source["columns"]]
    types = {name: KINDS[kind][1] for name, kind in source["columns"]}
    if source["format"] == "csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(",".join(names) + "\n")
            for row in source["rows"]:
                file.write(",".join(csv_field(cell) for cell in row) + "\n")
        return (f"read_csv({quote(path)}, columns={structure(types)}, auto_detect=false, header=true, delim=',', "
                "quote='\"', escape='\"', nullstr='', strict_mode=true, parallel=false)")
    if source["format"] == "jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for row in source["rows"]:
                cells = {name: json_value(cell) for name, cell in zip(names, row)}
                file.write(json.dumps(cells, ensure_ascii=len(source["rows"]) % 2 == 0) + "\n")
        return f"read_json({quote(path)}, columns={structure(types)}, format='newline_delimited')"
    fields = ", ".join(f'"{name}" {types[name]}' for name in names)
    con.execute(f"CREATE OR REPLACE TEMP TABLE written ({fields})")
    if source["rows"]:
        con.executemany(f"INSERT INTO written VALUES ({', '.join('?' * len(names))})", source["rows"])
    con.execute(f"COPY written TO {quote(path)} (FORMAT parquet)")
    return f"read_parquet({quote(path)})"


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
            return cell.isoformat(" ")
        case dt.date():
            return cell.isoformat()
    return str(cell)


def json_value(cell):
    if isinstance(cell, float) and (cell != cell or cell in (float("inf"), float("-inf"))):
        return plain(cell)
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return cell
    return plain(cell)
