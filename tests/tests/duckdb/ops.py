"""Makes the ops of a transform node at random."""

import data

# From which kinds a cast goes to which type, and what kind the column then is of.
CASTS = {
    "num": [("integer", "i32"), ("bigint", "big"), ("smallint", "i16"), ("double", "wild"), ("decimal", "dec"),
            ("boolean", "bool"), ("date", "date"), ("text", "text")],
    "int": [("text", "text"), ("double", "tame"), ("smallint", "i16"), ("decimal", "dec")],
    "id": [("text", "text"), ("integer", "i32")],
    "big": [("integer", "i32"), ("text", "text"), ("smallint", "i16")],
    "tame": [("bigint", "int"), ("integer", "i32")],
    "bool": [("text", "text"), ("integer", "i32")],
    "date": [("timestamp", "ts"), ("text", "text")],
    "ts": [("date", "date"), ("timestamptz", "tstz")],
    "dec": [("bigint", "big"), ("text", "text"), ("integer", "i32")],
    "i32": [("bigint", "big"), ("smallint", "i16"), ("text", "text"), ("double", "wild"), ("decimal", "dec")],
    "i16": [("integer", "i32"), ("bigint", "big"), ("text", "text"), ("real", "real")],
    "real": [("double", "wild"), ("smallint", "i16")],
    "tstz": [("timestamp", "ts")],
    "uuid": [("text", "text")],
}
# What an op looks up by.
LOOKED_UP = ["int", "text", "date", "dec", "bool", "ts", "num", "i32", "tstz", "uuid"]


class Columns:
    """The columns of a stream on their way through the ops."""

    def __init__(self, graph, stream):
        self.graph, self.random = graph, graph.random
        self.columns, self.approx, self.identity = dict(stream.columns), set(stream.approx), stream.identity
        self.unsigned = set(stream.unsigned)

    def of(self, *kinds):
        return [name for name, kind in self.columns.items() if kind in kinds and name not in self.approx]

    def set(self, name, kind, unsigned=False):
        """Another value in a column; where it was the id, rows are not told apart any more."""
        if name == "id":
            self.identity = False
        self.columns[name] = kind
        self.approx.discard(name)
        self.unsigned = self.unsigned | {name} if unsigned else self.unsigned - {name}

    def new(self, stem):
        number = len(self.columns)
        while f"{stem}_{number}" in self.columns:
            number += 1
        return f"{stem}_{number}"


def some(graph, stream):
    columns, ops = Columns(graph, stream), []
    makers = [cast, cast, expression, expression, rename, drop, select, add_field, hash_, mask, map_values, split, merge, trim,
              fill_null, parse_json, parse_json]
    if "lookup" in graph.features:
        makers += [lookup, lookup]
    for _ in range(graph.random.randint(1, 4)):
        made = graph.random.choice(makers)(columns)
        if made:
            ops.append(made)
    return (ops, columns) if ops else None


def pick(c, *kinds):
    fields = c.of(*kinds)
    return c.random.choice(fields) if fields else None


def cast(c):
    field = pick(c, *CASTS)
    if field is None:
        return None
    to, kind = c.random.choice(CASTS[c.columns[field]])
    c.set(field, kind, field in c.unsigned)
    then = "fail" if c.random.random() < 0.03 else c.random.choice([None, "reject", "null"])
    return {"op": "cast", "field": field, "type": to} | ({"onError": then} if then else {})


def choices(field, kind):
    """Expressions over a column and what kind each one's value is of."""
    known = {
        "int": [(f"{field} + 1", "int"), (f"{field} * 2 - 3", "int"), (f"abs({field})", "int"), (f"{field} % 4", "int"),
                (f"CASE WHEN {field} > 3 THEN 'large' WHEN {field} IS NULL THEN 'none' ELSE 'small' END", "text"),
                (f"coalesce({field}, 0)", "int"), (f"nullif({field}, 2)", "int"), (f"{field} > 2", "bool"), (f"-{field}", "int")],
        "text": [(f"upper({field})", "text"), (f"{field} || '!'", "text"), (f"length({field})", "int"), (f"substr({field}, 2, 2)", "text"),
                 (f"coalesce({field}, 'none')", "text"), (f"replace({field}, 'a', 'bb')", "text"), (f"{field} = 'a'", "bool"),
                 (f"reverse({field})", "text"), (f"left({field}, 1)", "text"), (f"nullif({field}, '')", "text"),
                 (f"repeat({field}, 2)", "text"), (f"ltrim({field}, ' ')", "text"), (f"split_part({field}, '-', 2)", "text")],
        "tame": [(f"{field} + {field}", "tame"), (f"{field} * CAST(0.5 AS DOUBLE)", "tame"), (f"abs({field})", "tame"), (f"floor({field})", "tame"),
                 (f"ceil({field})", "tame"), (f"round({field})", "tame")],
        "bool": [(f"NOT {field}", "bool"), (f"{field} AND NULL", "bool"), (f"{field} OR NULL", "bool"),
                 (f"CASE WHEN {field} THEN 1 ELSE 0 END", "int")],
        "date": [(f"CAST(date_part('year', {field}) AS INT)", "int"), (f"{field} IS NULL", "bool"),
                 (f"CAST(date_part('dow', {field}) AS INT)", "int")],
        "ts": [(f"CAST({field} AS DATE)", "date"), (f"CAST(date_part('hour', {field}) AS INT)", "int"), (f"date_trunc('hour', {field})", "ts"),
               *((f"CAST(date_trunc('{unit}', {field}) AS TIMESTAMP)", "ts") for unit in ("second", "day", "week", "month", "quarter", "year"))],
        "wild": [(f"{field} IS NULL", "bool"), (f"coalesce({field}, CAST(1 AS DOUBLE))", "wild"), (f"abs({field})", "wild"), (f"-{field}", "wild")],
        "dec": [(f"{field} IS NULL", "bool"), (f"abs({field})", "dec"), (f"-{field}", "dec"), (f"{field} > 0", "bool")],
        "big": [(f"{field} IS NOT NULL", "bool"), (f"greatest({field}, 0)", "big"), (f"least({field}, 0)", "big")],
        "i32": [(f"CAST({field} AS BIGINT) + 1", "big"), (f"coalesce({field}, CAST(0 AS INT))", "i32"), (f"{field} > 2", "bool"),
                (f"nullif({field}, 2)", "i32"), (f"greatest({field}, CAST(3 AS INT))", "i32")],
        "i16": [(f"CAST({field} AS BIGINT) * 3", "int"), (f"coalesce({field}, CAST(0 AS SMALLINT))", "i16"), (f"{field} > 2", "bool")],
        "real": [(f"{field} IS NULL", "bool"), (f"coalesce({field}, CAST(1 AS REAL))", "real"), (f"abs({field})", "real"), (f"-{field}", "real"),
                 (f"CAST({field} AS DOUBLE)", "wild")],
        "tstz": [(f"{field} IS NULL", "bool"), (f"CAST({field} AS DATE)", "date"), (f"CAST(date_part('year', {field}) AS INT)", "int")],
        "json": [(f"{field} IS NULL", "bool")],
        "uuid": [(f"{field} IS NOT NULL", "bool"), (f"{field} = '01234567-89ab-cdef-0123-456789abcdef'", "bool")],
        "list": [(f"CAST(array_length({field}) AS BIGINT)", "int"), (f"{field} IS NULL", "bool")],
    }
    known["id"], known["num"] = known["int"], known["text"]
    return known[kind]


def expression(c):
    random = c.random
    field = random.choice(list(c.columns))
    if field in c.approx:
        return None
    expr, kind = random.choice(choices(field, c.columns[field]))
    into = random.choice([field, c.new(kind)])
    c.set(into, kind, field in c.unsigned)
    return {"op": "expression", "field": into, "expr": expr}


def rename(c):
    names = [name for name in c.columns if name != "id"]
    if not names:
        return None
    old = c.random.choice(names)
    new = c.new("named")
    c.columns = {new if name == old else name: kind for name, kind in c.columns.items()}
    c.approx, c.unsigned = ({new if name == old else name for name in names} for names in (c.approx, c.unsigned))
    return {"op": "rename", "mappings": [{"from": old, "to": new}]}


def drop(c):
    names = [name for name in c.columns if name != "id"]
    if len(names) < 2:
        return None
    gone = c.random.choice(names)
    del c.columns[gone]
    c.approx.discard(gone)
    c.unsigned.discard(gone)
    return {"op": "drop", "fields": [gone]}


def select(c):
    names = list(c.columns)
    if len(names) < 4:
        return None
    kept = c.random.sample(names, c.random.randint(2, len(names)))
    c.columns = {name: c.columns[name] for name in kept}
    c.approx &= set(kept)
    c.unsigned &= set(kept)
    c.identity = "id" in kept and c.identity
    return {"op": "select", "fields": kept}


def add_field(c):
    value, kind, of = c.random.choice([("x'y", "text", "text"), (7, "integer", "int"), (True, "boolean", "bool"),
                                       ("2024-02-29", "date", "date"), (None, "text", "text"), ("", "text", "text"), (1.5, "double", "tame"), (-5, "smallint", "i16"), (0.5, "real", "real"),
                                       ("2024-02-29T12:00:00+02:00", "timestamptz", "tstz"),
                                       ("01234567-89ab-cdef-0123-456789abcdef", "uuid", "uuid")])
    name = c.new("added")
    c.set(name, of)
    return {"op": "add_field", "field": name, "value": value, "type": kind}


def hash_(c):
    field = pick(c, "text", "num", "int", "date", "bool")
    if field is None or field == "id":
        return None
    c.set(field, "text")
    return {"op": "hash", "field": field, "algorithm": c.random.choice(["md5", "sha256"])} | c.random.choice([{}, {"salt": "s'"}])


def mask(c):
    field = pick(c, "text", "num", "int", "date", "bool", "dec")
    if field is None:
        return None
    c.set(field, "text")
    return {"op": "mask_pii", "field": field, "strategy": c.random.choice(["redact", "hash", "partial"])}


def map_values(c):
    field = pick(c, "text", "num")
    if field is None:
        return None
    mapping = {"a": "mapped", "": "empty", "null": None, "007": "seven"}
    c.set(field, "text")
    return {"op": "map_values", "field": field, "mapping": mapping} | c.random.choice([{}, {"default": "other"}])


def split(c):
    field = pick(c, "text", "num")
    if field is None:
        return None
    into = [c.new("part"), c.new("rest")]
    for name in into:
        c.set(name, "text")
    return {"op": "split", "field": field, "separator": c.random.choice(["-", ".", ", ", "\n"]), "into": into}


def merge(c):
    fields = c.graph.some(c.of("text", "num", "int", "date", "bool"), 1, 3)
    if not fields:
        return None
    into = c.new("all")
    c.set(into, "text")
    return {"op": "merge", "fields": fields, "separator": c.random.choice(["", "-", ", "]), "into": into}


def trim(c):
    field = pick(c, "text", "num")
    if field is None:
        return None
    c.set(field, "text" if c.columns[field] == "text" else "num")
    return {"op": "trim", "fields": [field]}


def fill_null(c):
    field = pick(c, "text", "num", "int", "bool", "date", "tame", "big", "i32", "i16", "real")
    if field is None:
        return None
    value = {"text": "filled", "num": "8", "int": 4, "bool": False, "date": "0001-01-01", "tame": 0.125, "big": 2**63 - 1, "i32": -7,
             "i16": 9, "real": 0.25}
    value = value[c.columns[field]]
    return {"op": "fill_null", "field": field, "value": value}


def lookup(c):
    """Fields of a file in which each key is at most once; null is in it as often as it likes."""
    random = c.random
    field = pick(c, "id", *LOOKED_UP)
    if field is None:
        return None
    kind = c.columns[field]
    kind = "int" if kind == "id" else kind
    source = c.graph.looked_up(kind)
    added = [name for name, _ in source["columns"][1:]]
    select = random.sample(added, random.randint(1, len(added)))
    into = {name: of for name, of in source["columns"] if name in select}
    if set(into) & set(c.columns):
        return None
    for name, of in into.items():
        c.set(name, of)
    return {"op": "lookup", "connectorId": "", "path": f"{source['name']}.parquet", "on": [{"left": field, "right": "key"}], "select": select}


def parse_json(c):
    """A value out of JSON; where it is none of the type the row is rejected."""
    field = pick(c, "json")
    if field is None:
        return None
    to, kind = c.random.choice([("text", "text"), ("text", "num"), ("bigint", "big"), ("integer", "i32"), ("boolean", "bool")])
    into = c.new("parsed")
    c.set(into, kind)
    return {"op": "parse_json", "field": field, "path": c.random.choice(["a", "$.a", "b[0]", "b.a[1]", "[0]", "b[2].c"]), "into": into, "type": to}
