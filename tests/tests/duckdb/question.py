"""Asks DuckDB what a graph asks us: one statement a node, written from the nodes' definitions."""

import rules
from data import plain, quote
from queries import order

# The sum of decimals, which DuckDB would not hold while it is made: in two parts, and their digits put together.
EXACT = """
CREATE OR REPLACE TEMP MACRO units(x) AS CAST(replace(CAST(x AS VARCHAR), '.', '') AS HUGEINT);
CREATE OR REPLACE TEMP MACRO high_sum(x) AS sum(units(x) // 10000000000000000000);
CREATE OR REPLACE TEMP MACRO low_sum(x) AS sum(units(x) % 10000000000000000000);
CREATE OR REPLACE TEMP MACRO written(u) AS (CASE WHEN u < 0 THEN '-' ELSE '' END) || CAST(abs(u) // 10000000000 AS VARCHAR) || '.'
    || lpad(CAST(abs(u) % 10000000000 AS VARCHAR), 10, '0');
CREATE OR REPLACE TEMP MACRO total(high, low) AS CASE WHEN abs(CAST(high AS HUGEINT)) > 10000000000000000009 THEN 'too large'
    ELSE written(CAST(high AS HUGEINT) * 10000000000000000000 + CAST(low AS HUGEINT)) END;
CREATE OR REPLACE TEMP MACRO about(high, low, n) AS (CAST(high AS DOUBLE) * 1e19 + CAST(low AS DOUBLE)) / 1e10 / n;
"""

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT")


class TooLarge(Exception):
    """A node makes more rows than are worth to be compared: joins multiply."""


class Question:
    """The answer of each node, as a temporary table of DuckDB named as the node is. A sum that its type does not hold is
    an error; where `lenient`, it is null."""

    def __init__(self, con, nodes, edges, reads, most, lenient=False):
        self.con, self.nodes, self.edges, self.reads, self.most, self.lenient = con, nodes, edges, reads, most, lenient
        # Rows of each node, and of each way on from a branch.
        self.counts, self.ways = {}, {}
        # Rejected rows: by node, as (rule or column, table that holds them).
        self.rejected = {node["id"]: [] for node in nodes}
        # Nodes that say that the run fails; rows that break rules which only warn, by node and rule.
        self.fails, self.warned = set(), {}
        self.con.execute(EXACT)

    def ask(self):
        """Answers all of it, and the columns of the target as (name, DuckDB's type)."""
        for node in self.nodes:
            sql = getattr(self, node["nodeType"])(node)
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE {node['id']} AS {sql}")
            self.counts[node["id"]] = self.count(node["id"])
            if self.counts[node["id"]] > self.most:
                raise TooLarge(node["id"])
            for edge in self.edges:
                if edge["source"] == node["id"] and node["nodeType"] == "branch":
                    way = f"{node['id']} WHERE __way = {quote(edge['label'])}"
                    self.ways[node["id"], edge["label"]] = self.count(way)
        return self.columns(self.nodes[-1]["id"])

    def count(self, what):
        return self.con.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def given(self, node):
        """The rows that come into a node."""
        edges = self.inputs(node)
        return sum(self.ways.get((edge["source"], edge.get("label")), self.counts[edge["source"]]) for edge in edges)

    def reject(self, node, tag, rows, fails):
        """Keeps the rows of a query as those that a node rejects, or says that they end the run."""
        table = f"{node['id']}__rejected_{len(self.rejected[node['id']])}"
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {rows}")
        if self.count(table) == 0:
            return
        if fails:
            self.fails.add(node["id"])
        else:
            self.rejected[node["id"]].append((tag, table))

    def columns(self, table):
        return [(row[0], row[1]) for row in self.con.execute(f"DESCRIBE {table}").fetchall()]

    def inputs(self, node):
        return [edge for edge in self.edges if edge["target"] == node["id"]]

    def before(self, node):
        [edge] = self.inputs(node)
        if edge.get("label") and self.kind(edge["source"]) == "branch":
            return f"(SELECT * EXCLUDE (__way) FROM {edge['source']} WHERE __way = {quote(edge['label'])})"
        return edge["source"]

    def kind(self, name):
        return next(node["nodeType"] for node in self.nodes if node["id"] == name)

    def source(self, node):
        return f"SELECT * FROM {self.reads[node['config']['path']]}"

    def target(self, node):
        return f"SELECT * FROM {self.before(node)}"

    def filter(self, node):
        return f"SELECT * FROM {self.before(node)} WHERE {node['config']['condition']}"

    def sort(self, node):
        limit = f" LIMIT {node['config']['limit']}" if "limit" in node["config"] else ""
        return f"SELECT * FROM {self.before(node)} ORDER BY {self.order(node, node['config']['by'])}{limit}"

    def deduplicate(self, node):
        config = node["config"]
        by = config.get("orderBy", []) or [{"field": "id"}]
        if config["keep"] == "last":
            # The last row of an order is the first one of its opposite.
            by = [dict(key, direction="asc" if key.get("direction") == "desc" else "desc",
                       nulls="last" if key.get("nulls") == "first" else "first") for key in by]
        return (f"SELECT * FROM {self.before(node)} QUALIFY row_number() OVER "
                f"(PARTITION BY {self.apart(node, config['keys'])} ORDER BY {self.order(node, by)}) = 1")

    def order(self, node, by):
        """The keys of a sort."""
        return order(by, self.floats(node))

    def apart(self, node, keys):
        """What makes the partitions of a window."""
        floats = self.floats(node)
        return ", ".join(name(key) + (" + 0" if key in floats else "") for key in keys)

    def floats(self, node):
        """The columns whose zeros would lose their signs where DuckDB sorts by them, were no zero added to them there."""
        kinds = self.columns_of(f"SELECT * FROM {self.before(node)}")
        return [field for field, kind in kinds if kind in ("DOUBLE", "FLOAT")]

    def aggregate(self, node):
        groups = [name(group) for group in node["config"]["groupBy"]]
        kinds = dict(self.columns(self.before(node)))
        results = groups + [f"{self.measure(m, kinds)} AS {name(m['as'])}" for m in node["config"]["measures"]]
        by = f"GROUP BY {', '.join(groups)}" if groups else ""
        return f"SELECT {', '.join(results)} FROM {self.before(node)} {by}"

    def measure(self, measure, kinds, only="true"):
        """A measure of the rows for which `only` is true."""
        fn, field = measure["fn"], name(measure["field"]) if measure["field"] != "*" else "*"
        kind = kinds.get(measure["field"], "")
        value = f"CASE WHEN {only} THEN {field} END"
        cast = "TRY_CAST" if self.lenient else "CAST"
        if fn == "sum" and kind.startswith("DECIMAL"):
            return f"{cast}(total(high_sum({value}), low_sum({value})) AS DECIMAL(38,10))"
        if fn == "sum" and kind in INTEGERS:
            return f"{cast}(sum({value}) AS BIGINT)"
        if fn == "avg" and kind.startswith("DECIMAL"):
            return f"about(high_sum({value}), low_sum({value}), count({value}))"
        return {
            "count": f"count({field})", "count_distinct": f"count(DISTINCT {field})", "sum": f"sum({field})", "avg": f"avg({field})",
            "min": f"min({field})", "max": f"max({field})", "median": f"median(CAST({field} AS DOUBLE))", "stddev": f"stddev_samp({field})",
            "first": f"first({field} ORDER BY id)", "last": f"last({field} ORDER BY id)", "array_agg": f"list({field} ORDER BY id)",
        }[fn] + ("" if only == "true" else f" FILTER (WHERE {only})")

    def pivot(self, node):
        config, before = node["config"], self.before(node)
        columns, kinds = name(config["columns"]), dict(self.columns(before))
        values = config.get("pivotValues")
        if values is None:
            found = f"SELECT DISTINCT CAST({columns} AS VARCHAR) FROM {before}"
            values = [row[0] for row in self.con.execute(found).fetchall()]
        index, cells = [name(field) for field in config["index"]], []
        for value in values:
            text = plain(value) if value is not None else "null"
            is_it = f"{columns} IS NULL" if value is None else f"{columns} = CAST({quote(text)} AS {kinds[config['columns']]})"
            cells.append(f"{self.measure({'fn': config['fn'], 'field': config['values']}, kinds, is_it)} AS {name(text)}")
        return f"SELECT {', '.join(index + cells)} FROM {before} GROUP BY {', '.join(index)}"

    def sql(self, node):
        inputs = ", ".join(f"{edge.get('label') or 'input'} AS (SELECT * FROM {edge['source']})" for edge in self.inputs(node))
        query = node["config"]["query"]
        if self.lenient:
            query = query.replace("CAST(sum(", "TRY_CAST(sum(")
        return f"WITH {inputs} SELECT * FROM ({query})"

    def union(self, node):
        word = "UNION BY NAME" if node["config"].get("distinct") else "UNION ALL BY NAME"
        return f" {word} ".join(f"(SELECT * FROM {edge['source']})" for edge in self.inputs(node))

    def join(self, node):
        config = node["config"]
        sides = {edge["label"]: edge["source"] for edge in self.inputs(node)}
        on = " AND ".join(f"l.{name(pair['left'])} = r.{name(pair['right'])}" for pair in config["on"])
        kind = config["type"]
        if kind in ("semi", "anti"):
            word = "EXISTS" if kind == "semi" else "NOT EXISTS"
            return f"SELECT * FROM {sides['left']} l WHERE {word} (SELECT 1 FROM {sides['right']} r WHERE {on})"
        lefts = [column for column, _ in self.columns(sides["left"])]
        rights = [column for column, _ in self.columns(sides["right"])]
        shared = {pair["left"] for pair in config["on"] if pair["left"] == pair["right"]}
        results = []
        for column in lefts:
            both = column in shared and kind in ("right", "full")
            value = f"coalesce(l.{name(column)}, r.{name(column)})" if both else f"l.{name(column)}"
            results.append(f"{value} AS {name(column)}")
        for column in rights:
            if column not in shared:
                free = column + config.get("suffix", "_right") if column in lefts else column
                results.append(f"r.{name(column)} AS {name(free)}")
        return f"SELECT {', '.join(results)} FROM {sides['left']} l {kind.upper()} JOIN {sides['right']} r ON {on}"

    def transform(self, node):
        sql, columns = f"SELECT * FROM {self.before(node)}", dict(self.columns_of(f"SELECT * FROM {self.before(node)}"))
        for config in node["config"]["ops"]:
            op = Op(config, columns, sql, self.reads)
            sql = op.sql()
            if op.rejects:
                self.reject(node, config["field"], op.rejects, config.get("onError") == "fail")
            columns = dict(self.columns_of(sql))
        return sql

    def columns_of(self, sql):
        return [(row[0], row[1]) for row in self.con.execute(f"DESCRIBE {sql}").fetchall()]

    def unpivot(self, node):
        config = node["config"]
        index = "".join(f"{name(column)}, " for column in config["index"])
        parts = [f"SELECT {index}{quote(column)} AS {name(config['nameTo'])}, {name(column)} AS {name(config['valueTo'])} "
                 f"FROM {self.before(node)}" for column in config["columns"]]
        return " UNION ALL ".join(parts)

    def branch(self, node):
        routes = "".join(f"WHEN {route['condition']} THEN {quote(route['label'])} " for route in node["config"]["routes"])
        rest = quote(node["config"]["else"]) if "else" in node["config"] else "NULL"
        return f"SELECT * FROM (SELECT *, CASE {routes}ELSE {rest} END AS __way FROM {self.before(node)}) WHERE __way IS NOT NULL"

    def validate(self, node):
        before, judged, chosen = self.before(node), f"{node['id']}__judged", node["config"]["rules"]
        kinds = dict(self.columns_of(f"SELECT * FROM {before}"))
        of_rows = {at: rules.holds(rule, kinds) for at, rule in enumerate(chosen) if rule["rule"] not in ("unique", "rowCount")}
        warns = [at for at, rule in enumerate(chosen) if rule.get("onFail") == "warn"]
        broken = "".join(f" WHEN NOT ({holds}) THEN {at}" for at, holds in of_rows.items() if at not in warns)
        verdict = f"CASE{broken} END" if broken else "CAST(NULL AS INTEGER)"
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {judged} AS SELECT *, {verdict} AS __verdict FROM {before}")
        for at, rule in enumerate(chosen):
            if rule["rule"] == "unique":
                self.unique(node, at, rule, judged, at in warns)
            elif rule["rule"] == "rowCount":
                self.row_count(node, rule, self.count(before))
        for at, rule in enumerate(chosen):
            if at in warns and at in of_rows:
                self.warn(node, rule, self.count(f"{judged} WHERE NOT ({of_rows[at]}) AND NOT coalesce(__verdict < {at}, false)"))
            elif at not in warns:
                rows = f"SELECT * EXCLUDE (__verdict) FROM {judged} WHERE __verdict = {at}"
                self.reject(node, rule["id"], rows, rule.get("onFail") == "fail")
        return f"SELECT * EXCLUDE (__verdict) FROM {judged} WHERE __verdict IS NULL"

    def unique(self, node, at, rule, judged, warns):
        """The first row of a value that no rule takes out holds it; those behind it break the rule."""
        field = name(rule["field"])
        holder = f"min(CASE WHEN __verdict IS NULL THEN id END) OVER (PARTITION BY {self.apart(node, [rule['field']])})"
        broken = f"{field} IS NOT NULL AND NOT coalesce(__verdict < {at}, false) AND coalesce(id > {holder}, false)"
        if warns:
            self.warn(node, rule, self.count(f"(SELECT {broken} AS broken FROM {judged}) WHERE broken"))
        else:
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE {judged} AS SELECT * REPLACE "
                             f"(CASE WHEN {broken} THEN {at} ELSE __verdict END AS __verdict) FROM {judged}")

    def row_count(self, node, rule, count):
        if not rule["params"].get("min", 0) <= count <= rule["params"].get("max", count):
            if rule["onFail"] == "warn":
                self.warn(node, rule, 1)
            else:
                self.fails.add(node["id"])

    def warn(self, node, rule, rows):
        if rows:
            self.warned[node["id"], rule["id"]] = rows


def name(column):
    return '"' + column.replace('"', '""') + '"'


class Op:
    """One op over the rows of `sql`, whose columns are `columns`."""

    def __init__(self, op, columns, sql, reads):
        self.op, self.columns, self.before, self.reads = op, columns, sql, reads
        # The rows that the op rejects.
        self.rejects = None

    def sql(self):
        return getattr(self, self.op["op"])()

    def put(self, **values):
        """Sets columns; one that is there keeps its place, which does not matter to what is compared."""
        old = [f"{value} AS {name(column)}" for column, value in values.items() if column in self.columns]
        new = [f", {value} AS {name(column)}" for column, value in values.items() if column not in self.columns]
        replaced = f" REPLACE ({', '.join(old)})" if old else ""
        return f"SELECT *{replaced}{''.join(new)} FROM ({self.before})"

    @property
    def field(self):
        return name(self.op["field"])

    def text(self, column=None):
        return f"CAST({name(column) if column else self.field} AS VARCHAR)"

    def cast(self):
        value, field = self.cast_value(self.field, self.op["type"], self.columns[self.op["field"]]), self.op["field"]
        if self.op.get("onError") != "null":
            self.keep(self.field, value)
        return self.put(**{field: value})

    def keep(self, old, value):
        """Keeps the rows whose value there is, or was not before."""
        self.rejects = f"SELECT * FROM ({self.before}) WHERE {old} IS NOT NULL AND ({value}) IS NULL"
        self.before = f"SELECT * FROM ({self.before}) WHERE {old} IS NULL OR ({value}) IS NOT NULL"

    def parse_json(self):
        path = self.op["path"].removeprefix("$")
        found = f"json_extract_string({self.field}, {quote('$' + ('' if path.startswith('[') else '.') + path.removeprefix('.'))})"
        value = self.cast_value(f"({found})", self.op["type"], "VARCHAR")
        self.keep(f"({found})", value)
        return self.put(**{self.op["into"]: value})

    def cast_value(self, field, to, kind):
        """The value, null where there is none: nothing is rounded, and texts are read by our rules."""
        sql = {"integer": "INTEGER", "bigint": "BIGINT", "smallint": "SMALLINT", "double": "DOUBLE", "decimal": "DECIMAL(38,10)",
               "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMP", "text": "VARCHAR",
               "real": "FLOAT", "timestamptz": "TIMESTAMPTZ"}[to]
        whole = sql in ("INTEGER", "BIGINT", "SMALLINT")
        if kind == "VARCHAR" and whole:
            digits = f"regexp_replace(trim({field}), '\\.0+$', '')"
            return f"CASE WHEN regexp_full_match(trim({field}), '[+-]?[0-9]+(\\.0+)?') THEN TRY_CAST({digits} AS {sql}) END"
        if kind == "VARCHAR" and to == "decimal":
            # Digits past the tenth behind the point would be rounded; the texts that are made have none.
            return f"CASE WHEN regexp_full_match(trim({field}), '[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)(e[0-9]+)?') THEN TRY_CAST({field} AS {sql}) END"
        if kind == "VARCHAR" and to == "double":
            return (f"CASE WHEN regexp_full_match(trim({field}), '(?i)[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)(e[0-9]+)?|[+-]?(nan|inf|infinity)') "
                    f"THEN TRY_CAST(trim({field}) AS DOUBLE) END")
        if kind == "VARCHAR" and to == "boolean":
            return (f"CASE WHEN lower(trim({field})) IN ('true', 't', 'yes', 'y', '1') THEN true "
                    f"WHEN lower(trim({field})) IN ('false', 'f', 'no', 'n', '0') THEN false END")
        if kind == "VARCHAR" and to == "date":
            return f"CASE WHEN regexp_full_match(trim({field}), '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') THEN TRY_CAST({field} AS DATE) END"
        if kind in ("DOUBLE", "FLOAT") and whole:
            return f"CASE WHEN {field} = trunc({field}) THEN TRY_CAST({field} AS {sql}) END"
        if kind.startswith("DECIMAL") and whole:
            return f"CASE WHEN {field} = trunc({field}) THEN TRY_CAST({field} AS {sql}) END"
        return f"TRY_CAST({field} AS {sql})"

    def expression(self):
        return self.put(**{self.op["field"]: self.op["expr"]})

    def rename(self):
        renamed = ", ".join(f"{name(m['from'])} AS {name(m['to'])}" for m in self.op["mappings"])
        return f"SELECT * RENAME ({renamed}) FROM ({self.before})"

    def drop(self):
        return f"SELECT * EXCLUDE ({', '.join(map(name, self.op['fields']))}) FROM ({self.before})"

    def select(self):
        return f"SELECT {', '.join(map(name, self.op['fields']))} FROM ({self.before})"

    def add_field(self):
        sql = {"text": "VARCHAR", "integer": "INTEGER", "boolean": "BOOLEAN", "date": "DATE", "double": "DOUBLE", "smallint": "SMALLINT",
               "real": "FLOAT", "timestamptz": "TIMESTAMPTZ", "uuid": "UUID"}[self.op["type"]]
        value = self.op["value"]
        text = "NULL" if value is None else quote(str(value).lower() if isinstance(value, bool) else value)
        return self.put(**{self.op["field"]: f"CAST({text} AS {sql})"})

    def hash(self):
        salted = f"{quote(self.op.get('salt', ''))} || {self.text()}"
        return self.put(**{self.op["field"]: f"{self.op['algorithm']}({salted})"})

    def mask_pii(self):
        text, strategy = self.text(), self.op["strategy"]
        if strategy == "partial":
            hidden = f"CASE WHEN length({text}) > 4 THEN length({text}) - 4 ELSE length({text}) END"
            value = f"repeat('*', {hidden}) || substr({text}, {hidden} + 1)"
            local, domain = f"regexp_extract({text}, '(?s)^(.*)@', 1)", f"regexp_extract({text}, '(?s)^.*@(.*)$', 1)"
            value = (f"CASE WHEN contains({text}, '@') AND contains({domain}, '.') AND {local} <> '' "
                     f"THEN left({local}, 1) || repeat('*', greatest(length({local}) - 1, 1)) || '@' || {domain} ELSE {value} END")
        else:
            value = f"sha256({text})" if strategy == "hash" else f"CASE WHEN {text} IS NOT NULL THEN '***' END"
        return self.put(**{self.op["field"]: value})

    def map_values(self):
        text = self.text()
        cases = "".join(f"WHEN {text} = {quote(old)} THEN {'NULL' if new is None else quote(new)} " for old, new in self.op["mapping"].items())
        rest = quote(self.op["default"]) if "default" in self.op else text
        return self.put(**{self.op["field"]: f"CASE WHEN {text} IS NULL THEN NULL {cases}ELSE {rest} END"})

    def split(self):
        text, separator, (first, rest) = self.text(), quote(self.op["separator"]), self.op["into"]
        at, size = f"strpos({text}, {separator})", len(self.op["separator"])
        return self.put(**{
            first: f"CASE WHEN {at} > 0 THEN left({text}, {at} - 1) ELSE {text} END",
            rest: f"CASE WHEN {at} > 0 THEN substr({text}, {at} + {size}) END",
        })

    def merge(self):
        texts = ", ".join(self.text(column) for column in self.op["fields"])
        # All null makes null, and not an empty text.
        value = f"CASE WHEN coalesce({texts}) IS NOT NULL THEN concat_ws({quote(self.op['separator'])}, {texts}) END"
        return self.put(**{self.op["into"]: value})

    def trim(self):
        # All white space of Unicode that the data has.
        spaces = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"
        return self.put(**{field: f"trim({name(field)}, {spaces})" for field in self.op["fields"]})

    def fill_null(self):
        value = self.op["value"]
        text = quote(str(value).lower() if isinstance(value, bool) else value)
        return self.put(**{self.op["field"]: f"coalesce({self.field}, CAST({text} AS {self.columns[self.op['field']]}))"})

    def lookup(self):
        on = " AND ".join(f"l.{name(pair['left'])} = r.{name(pair['right'])}" for pair in self.op["on"])
        added = ", ".join(f"r.{name(column)}" for column in self.op["select"])
        return f"SELECT l.*, {added} FROM ({self.before}) l LEFT JOIN {self.reads[self.op['path']]} r ON {on}"
