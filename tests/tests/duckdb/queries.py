"""Makes the queries of sql nodes at random, in words that both engines take in the same sense."""

import ops

# What may be grouped, compared and ordered by in a query.
KEYS = ["id", "int", "big", "text", "dec", "bool", "date", "ts", "num", "i32", "i16", "tstz", "uuid"]


class Query:
    """A query over one stream, called `input`, or over two; what it gives is in `columns` by kind."""

    def __init__(self, graph, stream):
        self.graph, self.random, self.stream = graph, graph.random, stream
        self.columns = {}

    def item(self, expr, kind):
        """One more column of the result, under a name that is free."""
        number = len(self.columns)
        while (name := f"q{number}_{kind}") in self.columns or name in self.stream.columns:
            number += 1
        self.columns[name] = kind
        return f"{expr} AS {name}"

    def plain(self, table, fields):
        """Columns as they are, some with a new name."""
        items = []
        for field in fields:
            kind = self.stream.columns[field]
            if field in self.columns or self.random.random() < 0.5:
                items.append(self.item(f"{table}.{quoted(field)}", kind))
            else:
                self.columns[field] = kind
                items.append(f"{table}.{quoted(field)}")
        return items

    def where(self):
        condition = self.graph.condition(self.stream, 2) if self.random.random() < 0.7 else None
        return f" WHERE {condition}" if condition else ""

    def some(self, most=3, least=1):
        fields = self.stream.of(*KEYS, "tame", "wild", "real")
        return self.graph.some(fields, least, most)

    def order(self):
        """A total order over the input, in words."""
        return order(self.graph.order(self.stream) or [])

    # The forms of queries

    def projection(self):
        items = self.plain("input", self.some())
        for field in self.some(2):
            expr, kind = self.random.choice(ops.choices(field, self.stream.columns[field]))
            items.append(self.item(expr, kind))
        return f"SELECT {', '.join(items)} FROM input{self.where()}"

    def distinct(self):
        fields = self.graph.some(self.stream.of(*KEYS), 1, 2)
        return f"SELECT DISTINCT {', '.join(self.plain('input', fields))} FROM input{self.where()}" if fields else None

    def groups(self):
        fields = self.graph.some(self.stream.of(*KEYS), 0, 2)
        items = self.plain("input", fields) + [self.item("count(*)", "int")]
        for _ in range(self.random.randint(1, 3)):
            items += self.measure()
        by = f" GROUP BY {', '.join(f'input.{quoted(field)}' for field in fields)}" if fields else ""
        having = " HAVING count(*) > 1" if fields and self.random.random() < 0.3 else ""
        return f"SELECT {', '.join(items)} FROM input{self.where()}{by}{having}"

    def measure(self):
        fields = self.stream.of(*KEYS)
        if not fields:
            return []
        field = self.random.choice(fields)
        kind = self.stream.columns[field]
        choices = [(f"count({quoted(field)})", "int"), (f"count(DISTINCT {quoted(field)})", "int")]
        if kind != "bool":
            choices += [(f"min({quoted(field)})", kind), (f"max({quoted(field)})", kind)]
        if kind in ("id", "int", "big", "i32", "i16"):
            choices += 3 * [(f"CAST(sum({quoted(field)}) AS BIGINT)", "big")]
            choices += [(f"CAST(sum({quoted(field)}) FILTER (WHERE {quoted(field)} > 0) AS BIGINT)", "big")]
        return [self.item(*self.random.choice(choices))]

    def windows(self):
        by = self.order()
        if not by:
            return None
        keys = self.graph.some(self.stream.of(*KEYS, "wild"), 0, 1)
        within = f"PARTITION BY {quoted(keys[0])} " if keys else ""
        items = self.plain("input", self.some())
        choices = [(f"row_number() OVER ({within}ORDER BY {by})", "int"),
                   (f"count(*) OVER ({within.strip()})", "int")]
        for field in self.some(2):
            kind, field = self.stream.columns[field], quoted(field)
            choices += [(f"lag({field}) OVER ({within}ORDER BY {by})", kind), (f"lead({field}, 2) OVER ({within}ORDER BY {by})", kind),
                        (f"first_value({field}) OVER ({within}ORDER BY {by})", kind)]
        for field in self.stream.of("id", "int", "big", "i32", "i16"):
            total = f"sum({quoted(field)}) OVER ({within}ORDER BY {by}"
            choices += [(f"CAST({total}) AS BIGINT)", "big"),
                        (f"CAST({total} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS BIGINT)", "big"),
                        (f"rank() OVER (ORDER BY {quoted(field)} DESC NULLS LAST)", "int")]
        for choice in self.graph.some(choices, 1, 2):
            items.append(self.item(*choice))
        return f"SELECT {', '.join(items)} FROM input{self.where()}"

    def common(self):
        """The input twice, brought together again."""
        fields = self.some()
        items = self.plain("input", fields)
        again = ", ".join(f"input.{quoted(field)}" for field in fields)
        word = "UNION" if not {"tame", "wild", "real"} & set(self.columns.values()) and self.random.random() < 0.3 else "UNION ALL"
        return (f"WITH a AS (SELECT {', '.join(items)} FROM input{self.where()}), b AS (SELECT {again} FROM input{self.where()}) "
                f"SELECT * FROM a {word} SELECT * FROM b")

    def subquery(self):
        fields = self.stream.of("int", "id")
        if not fields:
            return None
        field = quoted(self.random.choice(fields))
        items = self.plain("input", self.some()) + [self.item(f"(SELECT max({field}) FROM input)", "int")]
        condition = self.random.choice([
            f"{field} < (SELECT max({field}) FROM input)",
            f"{field} IN (SELECT o.{field} FROM input o WHERE o.{field} > 2)",
            f"EXISTS (SELECT 1 FROM input o WHERE o.{field} = input.{field} + 1)",
            f"NOT EXISTS (SELECT 1 FROM input o WHERE o.{field} = input.{field} - 1)",
        ])
        return f"SELECT {', '.join(items)} FROM input WHERE {condition}"

    def first(self):
        """The first rows of an order that tells all rows apart."""
        by = self.order()
        items = self.plain("input", list(self.stream.columns)) if by else []
        return f"SELECT {', '.join(items)} FROM input ORDER BY {by} LIMIT {self.random.choice([1, 3, 10])}" if by else None


def query(graph, stream):
    """A query over one input and its columns, or nothing."""
    if "list" in stream.columns.values() or not stream.of(*KEYS, "tame", "wild", "real"):
        return None
    made = Query(graph, stream)
    forms = [made.projection, made.projection, made.distinct, made.groups, made.groups, made.windows, made.windows, made.common,
             made.subquery, made.first]
    text = graph.random.choice(forms)()
    return (text, made.columns) if text and made.columns else None


def both(graph, left, right):
    """A query over two inputs, `one` and `two`, and its columns, or nothing."""
    random = graph.random
    if "list" in [*left.columns.values(), *right.columns.values()]:
        return None
    family = ("id", "int") if graph.large else random.choice([("id", "int", "big", "i32", "i16"), ("text",), ("date",), ("dec",), ("bool",), ("tstz",), ("uuid",)])
    lefts, rights = left.of(*family), right.of(*family)
    if not lefts or not rights:
        return None
    on = f"one.{quoted(random.choice(lefts))} = two.{quoted(random.choice(rights))}"
    one, two = Query(graph, left), Query(graph, right)
    items = one.plain("one", one.some())
    two.columns = one.columns
    # Names of the right that the left has too get a new one.
    items += [two.item(f"two.{quoted(field)}", right.columns[field]) for field in two.some()]
    kind = random.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS"])
    if kind == "CROSS":
        return f"SELECT {', '.join(items)} FROM one, two WHERE {on}", one.columns
    return f"SELECT {', '.join(items)} FROM one {kind} two ON {on}", one.columns


def quoted(name):
    return '"' + name + '"'


def order(by, floats=()):
    """The keys of a sort, in words that leave nothing to an engine's defaults; to those in `floats` a zero is added."""
    return ", ".join(
        f"{quoted(key['field'])}{' + 0' if key['field'] in floats else ''} {'DESC' if key.get('direction') == 'desc' else 'ASC'} "
        f"NULLS {'FIRST' if key.get('nulls') == 'first' else 'LAST'}"
        for key in by)
