"""Makes the rules of validate nodes at random, and says in SQL which rows break one."""

from data import quote

# As its documentation describes an address.
EMAIL = (r"^[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*"
         r"@[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?(\.[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?)+$")
BOUNDS = {
    "int": (-3, 9), "i32": (-3, 2**31 - 1), "i16": (-(2**15), 8), "big": (-(2**53), 2**63 - 2), "dec": (-1, 12.5), "tame": (-20.5, 30), "wild": (-1, 1e22),
    "date": ("1900-02-28", "2024-02-29"), "ts": ("1969-12-31T23:59:59.999999", "2024-03-31T00:00:00"),
}
VALUES = {"int": [1, 2, 3, -4], "text": ["", "a", "Zoë", "漢字", "it's"], "num": ["0", "12.5", "x"], "bool": [True], "date": ["2024-02-29", "9999-12-31"],
          "dec": ["0", "0.1", "100"], "i32": [0, 2147483647], "i16": [-32768, 1], "wild": [0, 0.1, 1.5, -0.1, 1e22]}
PATTERNS = ["^[a-z]", "[0-9]+", "é|漢|ë", "^$", "^.{2}$", r"\s"]


def rule(graph, stream, number):
    """A rule, or nothing where no column is of a kind for it."""
    random = graph.random
    name = random.choice(["notNull", "unique", "unique", "range", "length", "regex", "oneOf", "email", "expression", "rowCount"])
    made = {"id": f"r{number} 'x'", "rule": name}
    if (then := random.choice([None] * 6 + ["reject"] * 8 + ["warn"] * 5 + ["fail"])):
        made["onFail"] = then
    if name == "rowCount":
        made["onFail"] = random.choice(["warn", "warn", "fail"])
        return made | {"params": bounds(random, 0, random.choice([5, 20, 1000]))}
    if name == "expression":
        condition = graph.condition(stream, 1)
        return made | {"params": {"expr": condition}} if condition else None
    kinds = {"range": BOUNDS, "oneOf": VALUES, "length": ["text", "num"], "regex": ["text", "num"], "email": ["text"]}.get(name)
    fields = stream.of(*kinds) if kinds else [f for f in stream.exact() if name != "unique" or stream.columns[f] not in ("json", "list")]
    if not fields:
        return None
    made["field"] = field = random.choice(fields)
    kind = stream.columns[field]
    match name:
        case "range":
            made["params"] = bounds(random, *BOUNDS[kind])
        case "length":
            made["params"] = bounds(random, random.choice([0, 1]), random.choice([1, 2, 5]))
        case "regex":
            made["params"] = {"pattern": random.choice(PATTERNS)}
        case "oneOf":
            made["params"] = {"values": graph.some(VALUES[kind], 1, 5)}
    return made


def bounds(random, low, high):
    return random.choice([{"min": low, "max": high}, {"min": low}, {"max": high}])


def holds(rule, kinds):
    """SQL that is false for a row which breaks the rule; columns are of the types `kinds`."""
    params = rule.get("params", {})
    if rule["rule"] == "expression":
        return params["expr"]
    field = '"' + rule["field"] + '"'
    kind = kinds[rule["field"]]
    match rule["rule"]:
        case "notNull":
            return f"{field} IS NOT NULL"
        case "range":
            return between(field, {side: f"CAST({quote(value)} AS TIMESTAMP)" if isinstance(value, str) else str(value) for side, value in params.items()})
        case "length":
            return between(f"length({field})", params)
        case "regex":
            return f"regexp_matches({field}, {quote(params['pattern'])})"
        case "email":
            return f"regexp_matches({field}, {quote(EMAIL)})"
        case "oneOf":
            values = (quote(str(value).lower() if isinstance(value, bool) else value) for value in params["values"])
            return f"{field} IN ({', '.join(f'CAST({value} AS {kind})' for value in values)})"
    raise ValueError(rule)


def between(value, params):
    sides = {"min": f"{value} >= {params.get('min')}", "max": f"{value} <= {params.get('max')}"}
    return " AND ".join(sides[side] for side in params)
