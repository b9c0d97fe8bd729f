"""Makes graphs at random: nodes and edges as POST /pipelines takes them."""

import data
import loads
import queries
import rules

# What may be compared, grouped, sorted and joined by.
KEYS = ["id", "int", "big", "text", "dec", "bool", "date", "ts", "num", "i32", "i16", "tstz", "uuid"]
# Whole numbers, which meet whatever their sizes are.
WHOLE = ("id", "int", "big", "i32", "i16")


class Stream:
    """What flows out of a node: columns as {name: kind}; `approx` are those whose last digits are not sure, and
    `unsigned` those whose zeros may have either sign."""

    def __init__(self, node, columns, approx=(), identity=False, unsigned=()):
        self.node, self.columns, self.approx = node, dict(columns), set(approx) & set(columns)
        self.unsigned = set(unsigned) & set(self.floats())
        # The source of which "id" tells each row apart, in its order, where it does so.
        self.identity = identity if "id" in self.columns else False
        # Whether the columns that nobody knows of yet are approximate, or without a sign.
        self.vague_rest = self.unsigned_rest = False

    def floats(self):
        return [name for name, kind in self.columns.items() if kind in data.FLOATS]

    def at(self, node, unsigned=()):
        """The same columns behind another node."""
        return Stream(node, self.columns, self.approx, self.identity, self.unsigned | set(unsigned))

    def tied(self):
        """The columns of which nobody can tell which of two zeros a row keeps, where rows that are equal compete."""
        return () if self.identity else self.floats()

    def of(self, *kinds):
        return [name for name, kind in self.columns.items() if kind in kinds and name not in self.approx]

    def exact(self):
        return [name for name in self.columns if name not in self.approx]


class Graph:
    def __init__(self, random, features, large=False):
        self.random, self.features, self.large = random, features, large
        self.nodes, self.edges, self.sources, self.streams = [], [], [], []
        # The source whose rows come into a node, by the node's id, where they are still told apart.
        self.origins = {}

    def node(self, kind, config, *inputs):
        name = f"n{len(self.nodes)}"
        self.nodes.append({"id": name, "nodeType": kind, "config": config})
        for stream, label in inputs:
            self.origins[name] = stream.identity if len(inputs) == 1 else False
            self.edges.append({"source": stream.node, "target": name} | ({"label": label} if label else {}))
        return name

    def grow(self):
        random = self.random
        for number in range(random.choice([1, 1, 2, 2, 3])):
            source = data.source(random, f"s{number}", self.large)
            config = {"path": source["path"]}
            if (options := data.options(source)) is not None:
                config["options"] = options
            self.sources.append(source)
            self.streams.append(Stream(self.node("source", config), dict(source["columns"]), identity=source["name"]))
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(self.streams))
            stream = self.streams[at]
            makers = [self.filter, self.filter, self.transform, self.transform, self.transform, self.aggregate, self.sort,
                      self.deduplicate]
            makers += [self.union_of_one] * (random.random() < 0.3)
            makers += [getattr(self, name) for name in ("unpivot", "validate", "validate", "validate", "branch", "pivot", "sql") if name in self.features]
            if len(self.streams) > 1:
                makers += [self.join, self.join, self.union]
                makers += [self.sql_of_two] * ("sql" in self.features)
            made = random.choice(makers)(stream)
            if made is not None:
                self.streams[self.streams.index(stream)] = made
        while len(self.streams) > 1:
            stream = self.streams[0]
            made = random.choice([self.join, self.union])(stream) or self.union(stream)
            if made is None:
                self.streams.pop(1)
                continue
            self.streams[self.streams.index(stream)] = made
        last = self.streams[0]
        if "pivot" in self.features and random.random() < 0.15:
            last = self.pivot_of_all(last) or last
        self.load = loads.choose(self, last)
        last = self.load.stream
        self.node("target", self.load.config, (last, None))
        self.prune()
        self.execution = self.executed()
        return last

    def executed(self):
        """An executionConfig: it never changes what comes out, but where rows are rejected."""
        random, config = self.random, {}
        if random.random() < 0.7:
            config["batchSize"] = random.choice([7, 64, 500] if self.large else [1, 2, 3, 5, 7])
        if random.random() < 0.8:
            config["parallelism"] = random.randint(1, 4)
        read = {node["config"]["path"] for node in self.nodes if node["nodeType"] == "source"}
        columns = [dict(source["columns"]) for source in self.sources if source["path"] in read]
        common = [name for name in columns[0] if all(other.get(name, "json") != "json" for other in columns)]
        count = random.randint(1, 4)
        config["partitioning"] = random.choice([
            {"strategy": "none"}, {"strategy": "file"}, {"strategy": "hash", "columns": self.some(common, 1, 2), "count": count},
            {"strategy": "range", "column": random.choice(common), "count": count}])
        errors = random.choice([None, None, {"onError": "skip"}, {"onError": "deadLetter"}, {"onError": "deadLetter"},
                                {"onError": "deadLetter", "maxErrors": 3}, {"onError": "skip", "maxErrors": 1}])
        if random.random() < 0.03:
            errors = {"onError": "fail"}
        return config | ({"errorHandling": errors} if errors else {})

    def prune(self):
        """Takes away what does not reach the target."""
        alive, todo = set(), [self.nodes[-1]["id"]]
        while todo:
            name = todo.pop()
            if name not in alive:
                alive.add(name)
                todo += [edge["source"] for edge in self.edges if edge["target"] == name]
        self.nodes = [node for node in self.nodes if node["id"] in alive]
        self.edges = [edge for edge in self.edges if edge["target"] in alive]

    # Nodes with one input

    def filter(self, stream):
        condition = self.condition(stream, 2)
        if condition is None:
            return None
        return stream.at(self.node("filter", {"condition": condition}, (stream, None)))

    def aggregate(self, stream):
        random = self.random
        groups = self.some(stream.of(*KEYS, "wild", "real"), 0, 2)
        measures, approx = [{"fn": "count", "field": "*", "as": "rows"}], set()
        columns = {name: stream.columns[name] for name in groups} | {"rows": "int"}
        for number in range(random.randint(0, 4)):
            made = self.measure(stream)
            if made is None:
                continue
            fn, field, kind, vague = made
            name = f"m{number}_{kind}"
            measures.append({"fn": fn, "field": field, "as": name})
            columns[name] = kind
            if vague:
                approx.add(name)
        if len(columns) != len(groups) + len(measures):
            return None
        name = self.node("aggregate", {"groupBy": groups, "measures": measures}, (stream, None))
        return Stream(name, columns, approx, unsigned=columns)

    def measure(self, stream):
        random = self.random
        fn = random.choice(["count", "count_distinct", "sum", "sum", "avg", "min", "max", "median", "stddev", "first", "last"]
                           + ["array_agg"] * ("array_agg" in self.features))
        kinds = {
            "sum": ["int", "tame", "dec", "big", "i32", "i16"], "avg": ["int", "tame", "dec", "i32", "i16"],
            "stddev": ["int", "tame", "dec", "i16"], "median": ["int", "tame", "dec", "i32", "i16"],
            "count_distinct": [*KEYS, "wild", "real"], "array_agg": [kind for kind in KEYS if kind != "tstz"],
        }.get(fn, list(data.KINDS))
        if fn in ("min", "max"):
            kinds = [kind for kind in kinds if kind not in ("bool", "json")]
        if fn in ("first", "last", "array_agg") and not stream.identity:
            return None
        fields = stream.of(*kinds)
        if not fields:
            return None
        field = random.choice(fields)
        kind = stream.columns[field]
        if fn in ("count", "count_distinct"):
            kind = "int"
        elif fn == "array_agg":
            return fn, field, "list", False
        elif fn in ("avg", "stddev", "median"):
            return fn, field, "tame", fn != "median" or kind == "dec"
        elif fn == "sum" and kind in WHOLE:
            kind = "big"
        if kind == "id":
            kind = "int"
        return fn, field, kind, fn == "sum" and kind == "tame"

    def order(self, stream):
        """Sort keys over all columns, so that rows which are equal in them are equal altogether."""
        if stream.approx or "list" in stream.columns.values():
            return None
        # JSON has no order of its own.
        names = [name for name, kind in stream.columns.items() if kind != "json"]
        if len(names) < len(stream.columns) and not stream.identity:
            return None
        self.random.shuffle(names)
        direction = lambda: self.random.choice([{}, {"direction": "asc"}, {"direction": "desc"}])
        nulls = lambda: self.random.choice([{}, {"nulls": "first"}, {"nulls": "last"}])
        return [{"field": name} | direction() | nulls() for name in names]

    def sort(self, stream):
        order = self.order(stream)
        if order is None:
            return None
        name = self.node("sort", {"by": order, **self.random.choice([{}, *({"limit": most} for most in (1, 2, 3, 10, 1000))])}, (stream, None))
        return stream.at(name, stream.tied())

    def deduplicate(self, stream):
        keys = self.some(stream.of(*KEYS, "wild", "real"), 1, 2)
        if not keys:
            return None
        config = {"keys": keys, "keep": self.random.choice(["first", "last"])}
        if not stream.identity or self.random.random() < 0.6:
            order = self.order(stream)
            if order is None:
                return None
            config["orderBy"] = order
        return stream.at(self.node("deduplicate", config, (stream, None)), stream.tied())

    def transform(self, stream):
        import ops

        made = ops.some(self, stream)
        if made is None:
            return None
        chosen, c = made
        name = self.node("transform", {"ops": chosen}, (stream, None))
        self.origins[name] = c.identity
        return Stream(name, c.columns, c.approx, c.identity, c.unsigned)

    def unpivot(self, stream):
        kind = self.random.choice(["int", "text", "tame", "date", "dec", "wild", "real", "tstz", "uuid"])
        fields = stream.of(kind)
        index = [name for name in self.some(stream.exact(), 0, 3) if name not in fields]
        if not fields or {"name", "value"} & set(index):
            return None
        config = {"index": index, "columns": fields, "nameTo": "name", "valueTo": "value"}
        columns = {name: stream.columns[name] for name in index} | {"name": "text", "value": kind}
        unsigned = stream.unsigned | ({"value"} if stream.unsigned & set(fields) else set())
        return Stream(self.node("unpivot", config, (stream, None)), columns, unsigned=unsigned)

    def pivot(self, stream):
        """A pivot of given values, whose columns then get names that expressions can have."""
        fields = stream.of("int", "text", "bool", "date", "big")
        index = self.some(stream.of(*KEYS), 1, 2)
        if not fields or not index:
            return None
        columns = self.random.choice(fields)
        kind = stream.columns[columns]
        index = [key for key in index if key != columns]
        made = self.measure(stream)
        if made is None or made[2] == "list" or not index or made[1] in (columns, *index):
            return None
        fn, field, of, vague = made
        values = list({data.plain(v).lower(): data.json_value(v) for v in (data.value(self.random, kind) for _ in range(3)) if v not in (None, "")}.values())
        # Names of the index would be there twice, and ${} is a parameter of the run.
        values = [value for value in values if str(value).lower() not in index and "${" not in str(value) and str(value).isprintable()]
        if not values:
            return None
        config = {"index": index, "columns": columns, "values": field, "fn": fn, "pivotValues": values}
        stem, names = len(self.nodes), [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        name = self.node("pivot", config, (stream, None))
        mappings = [{"from": text, "to": f"p{stem}_{at}_{of}"} for at, text in enumerate(names)]
        self.nodes.append({"id": f"n{len(self.nodes)}", "nodeType": "transform", "config": {"ops": [{"op": "rename", "mappings": mappings}]}})
        self.edges.append({"source": name, "target": self.nodes[-1]["id"]})
        cells = {mapping["to"]: of for mapping in mappings}
        columns = {key: stream.columns[key] for key in index} | cells
        return Stream(self.nodes[-1]["id"], columns, set(cells) if vague else (), unsigned=columns)

    def pivot_of_all(self, stream):
        """A pivot that reads its values first. Nothing comes behind it that would have to know its columns."""
        fields = stream.of("int", "text", "bool", "date", "big", "dec")
        made = self.measure(stream)
        if not fields or made is None or made[2] == "list":
            return None
        fn, field, _, vague = made
        columns = self.random.choice(fields)
        index = [key for key in self.some(stream.of(*KEYS), 1, 2) if key != columns]
        if not index or field in (columns, *index):
            return None
        if stream.columns[columns] == "text":
            # A column that a target takes has a name of plain letters, and no two may differ in case only.
            few = "'a', 'ab', 'none', 'mapped', 'small', 'b'"
            name = self.node("filter", {"condition": f"{columns} IN ({few}) OR {columns} IS NULL"}, (stream, None))
            stream = stream.at(name)
        elif stream.columns[columns] != "bool":
            text = f"'v' || replace(replace(CAST({columns} AS VARCHAR), '-', '_'), '.', '_')"
            name = self.node("transform", {"ops": [{"op": "expression", "field": columns, "expr": text}]}, (stream, None))
        else:
            name = stream.node
        config = {"index": index, "columns": columns, "values": field, "fn": fn}
        made = Stream(name, stream.columns)
        made = Stream(self.node("pivot", config, (made, None)), {key: stream.columns[key] for key in index})
        made.vague_rest, made.unsigned_rest = vague, True
        return made

    def sql(self, stream):
        made = queries.query(self, stream)
        if made is None:
            return None
        text, columns = made
        return Stream(self.node("sql", {"query": text}, (stream, None)), columns, unsigned=columns)

    def looked_up(self, kind):
        """A file that an op looks up in: the column `key` tells its rows apart."""
        number = len(self.sources)
        others = [self.random.choice([k for k in data.KINDS if k != "id"]) for _ in range(self.random.randint(1, 3))]
        columns = [("key", kind)] + [(f"look{number}_{at}_{of}", of) for at, of in enumerate(others)]
        rows, seen = [], set()
        for _ in range(self.random.choice([0, 1, 5, 20])):
            row = [data.value(self.random, of) for _, of in columns]
            if row[0] is None or row[0] not in seen:
                seen.add(row[0])
                rows.append(row)
        source = {"name": f"l{number}", "format": "parquet", "path": f"l{number}.parquet", "columns": columns, "rows": rows, "again": rows}
        self.sources.append(source)
        return source

    def validate(self, stream):
        chosen = [rule for rule in (rules.rule(self, stream, number) for number in range(self.random.randint(1, 4))) if rule]
        # Which row is the first one is only told where the rows have an order; and where a rule rejects a row, nobody has its
        # value, so that of two such rules each would have to know the other.
        uniques = [rule for rule in chosen if rule["rule"] == "unique"]
        chosen = [rule for rule in chosen if rule not in (uniques[1:] if stream.identity else uniques)]
        return stream.at(self.node("validate", {"rules": chosen}, (stream, None))) if chosen else None

    def branch(self, stream):
        """Two ways that a union brings together again."""
        first, second = self.condition(stream, 1), self.condition(stream, 1)
        if first is None or second is None:
            return None
        routes = [{"label": "a", "condition": first}, {"label": "b", "condition": second}]
        config = {"routes": routes} | self.random.choice([{}, {"else": "rest"}])
        name = self.node("branch", config, (stream, None))
        ways = ["a", "b"] + (["rest"] if "else" in config else [])
        ends = []
        for way in ways:
            mark = {"op": "add_field", "field": "way", "value": way, "type": "text"}
            end = self.node("transform", {"ops": [mark]})
            self.edges.append({"source": name, "target": end, "label": way})
            ends.append(end)
        union = self.node("union", {})
        self.edges += [{"source": end, "target": union} for end in ends]
        return Stream(union, stream.columns | {"way": "text"}, stream.approx, unsigned=stream.unsigned)

    # Nodes with two inputs

    def other(self, stream):
        others = [other for other in self.streams if other is not stream]
        return self.random.choice(others) if others else None

    def join(self, left):
        random = self.random
        right = self.other(left)
        if right is None or len(left.columns) + len(right.columns) > 24:
            return None
        on, kind = [], random.choice(["inner", "left", "right", "full", "semi", "anti"])
        for _ in range(random.choice([1, 1, 2])):
            # Where there are many rows, those that have one of few values would meet too often.
            key = random.choice(["id", "int"] if self.large else ["id", "int", "text", "date", "bool", "dec", "big", "tstz", "uuid", "wild"])
            family = WHOLE[:2] if self.large else WHOLE if key in WHOLE else (key,)
            lefts, rights = left.of(*family), right.of(*family)
            if lefts and rights:
                on.append({"left": random.choice(lefts), "right": random.choice(rights)})
        on = [pair for at, pair in enumerate(on) if all(pair["left"] != p["left"] and pair["right"] != p["right"] for p in on[:at])]
        if not on:
            return None
        suffix = random.choice(["_right", "_2"])
        columns, approx, unsigned = dict(left.columns), set(left.approx), left.unsigned | {pair["left"] for pair in on}
        if kind not in ("semi", "anti"):
            for name, column in right.columns.items():
                if any(pair["left"] == name and pair["right"] == name for pair in on):
                    continue
                free = name + suffix if name in left.columns else name
                if free in columns:
                    return None
                columns[free] = column
                approx |= {free} if name in right.approx else set()
                unsigned |= {free} if name in right.unsigned else set()
        config = {"type": kind, "on": on} | ({"suffix": suffix} if suffix != "_right" else {})
        name = self.node("join", config, (left, "left"), (right, "right"))
        self.streams.remove(right)
        return Stream(name, columns, approx, kind in ("semi", "anti") and left.identity, unsigned)

    def sql_of_two(self, left):
        right = self.other(left)
        made = queries.both(self, left, right) if right else None
        if made is None:
            return None
        text, columns = made
        name = self.node("sql", {"query": text}, (left, "one"), (right, "two"))
        self.streams.remove(right)
        return Stream(name, columns, unsigned=columns)

    def union_of_one(self, one):
        config = {"distinct": True} if not one.approx and not {"list", "json"} & set(one.columns.values()) else {}
        stream = Stream(None, one.columns, one.approx, unsigned=one.columns if config else one.unsigned)
        return stream.at(self.node("union", config, (one, None)))

    def union(self, one):
        other = self.other(one)
        if other is None:
            return None
        shared = [name for name in one.columns if name in other.columns]
        # Means are doubles or decimals, which do not go together.
        if any(one.columns[name] != other.columns[name] or name in one.approx | other.approx for name in shared):
            return None
        approx, columns = one.approx | other.approx, one.columns | other.columns
        config = {"distinct": True} if not approx and not {"list", "json"} & set(columns.values()) and self.random.random() < 0.4 else {}
        name = self.node("union", config, (one, None), (other, None))
        self.streams.remove(other)
        return Stream(name, columns, approx, unsigned=columns if config else one.unsigned | other.unsigned)

    # Expressions, in words that both engines take in the same sense

    def some(self, items, least, most):
        count = min(len(items), self.random.randint(least, most))
        return self.random.sample(items, count)

    def condition(self, stream, depth):
        random = self.random
        if depth > 0 and random.random() < 0.4:
            one, two = self.condition(stream, depth - 1), self.condition(stream, depth - 1)
            if one is None or two is None:
                return one or two
            return random.choice([f"({one}) AND ({two})", f"({one}) OR ({two})", f"NOT ({one})"])
        fields = stream.exact()
        if not fields:
            return None
        field = random.choice(fields)
        kind = stream.columns[field]
        sign = random.choice(["=", "<>", "<", "<=", ">", ">="])
        null = random.choice([f"{field} IS NULL", f"{field} IS NOT NULL"])
        match kind:
            case "id" | "int":
                return random.choice([null, f"{field} {sign} {random.randint(-3, 20)}", f"{field} % 3 = 1",
                                      f"{field} BETWEEN 0 AND 7", f"{field} IN (1, 2, 3, NULL)", f"{field} + 1 > 4"])
            case "big":
                return random.choice([null, f"{field} {sign} 9223372036854775806", f"{field} {sign} -9007199254740993"])
            case "text" | "num":
                return random.choice([null, f"{field} {sign} 'a'", f"{field} LIKE '%a%'", f"{field} LIKE '_'",
                                      f"length({field}) {sign} 2", f"{field} IN ('', 'a', 'x', '007')", f"lower({field}) = 'a'",
                                      f"starts_with({field}, 'a')", f"{field} NOT LIKE 'a%'"])
            case "dec":
                return random.choice([null, f"{field} {sign} 1", f"{field} {sign} 0.1", f"{field} {sign} -0.0000000001"])
            case "i32" | "i16":
                return random.choice([null, f"{field} {sign} {random.randint(-3, 20)}", f"{field} IN (1, 2, 2147483647, -32768)",
                                      f"CAST({field} AS BIGINT) * 2 > 5"])
            case "real":
                return random.choice([null, f"{field} {sign} CAST(0 AS REAL)", f"{field} {sign} CAST('NaN' AS REAL)", f"{field} > 1"])
            case "tstz":
                return random.choice([null, f"{field} {sign} CAST('1970-01-01T00:00:00Z' AS TIMESTAMP WITH TIME ZONE)",
                                      f"CAST({field} AS DATE) {sign} DATE '2024-03-31'"])
            case "uuid":
                return random.choice([null, f"{field} {sign} '01234567-89ab-cdef-0123-456789abcdef'"])
            case "json":
                return null
            case "tame":
                return random.choice([null, f"{field} {sign} 1", f"{field} * 2 > 5", f"abs({field}) < 20"])
            case "wild":
                return random.choice([null, f"{field} {sign} CAST(0 AS DOUBLE)", f"{field} {sign} CAST('NaN' AS DOUBLE)",
                                      f"{field} {sign} CAST('Infinity' AS DOUBLE)",
                                      f"{field} IN (CAST(0 AS DOUBLE), CAST(1.5 AS DOUBLE), CAST(0.1 AS DOUBLE), CAST(1e22 AS DOUBLE))"])
            case "bool":
                return random.choice([null, field, f"NOT {field}", f"{field} IS TRUE", f"{field} IS NOT TRUE"])
            case "date":
                return random.choice([null, f"{field} {sign} DATE '1970-01-01'", f"date_part('year', {field}) {sign} 2000"])
            case "ts":
                return random.choice([null, f"{field} {sign} TIMESTAMP '1970-01-01 00:00:00'",
                                      f"CAST({field} AS DATE) {sign} DATE '2024-03-31'"])
        return None
