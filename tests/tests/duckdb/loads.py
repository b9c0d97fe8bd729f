"""Load modes: chosen at random, and what the table of a target holds after each run, by DuckDB."""

import graphs

# What may be a watermark.
ORDERED = ["id", "int", "big", "i32", "i16", "dec", "date", "ts", "tstz", "text", "num", "uuid"]


def choose(graph, last):
    """How the rows of `last` are loaded, in how many runs, and into what schema."""
    load = mode_of(graph, last)
    return load if load.stream.vague_rest or load.stream.unsigned_rest else limited(graph, load)


def mode_of(graph, last):
    random = graph.random
    mode = random.choice([None, "append", "truncate", "upsert", "upsert", "incremental_watermark", "incremental_watermark"])
    if last.vague_rest or last.unsigned_rest:
        # Columns that are not known yet have their names by what a run reads.
        return Load(last, mode if mode in (None, "append") else None)
    primary = last.identity and random.random() < 0.4
    if mode == "truncate":
        return Load(last, mode, random.choice([{}, {"allowEmpty": True}]), primary, again=True)
    if mode == "upsert" and (last := told_apart(graph, last, primary)):
        return last
    ordered = last.of(*ORDERED) if last else []
    # Where all values say which rows are the same, all values have to be sure.
    sure = last and not last.approx and not {"list", "json"} & set(last.columns.values())
    if mode == "incremental_watermark" and ordered and (sure or primary):
        if not primary:
            # DuckDB takes rows out of others by their values, and gives either zero for both.
            last.unsigned |= set(last.floats())
        return Load(last, mode, {"watermarkColumn": random.choice(ordered)}, primary, again=True)
    return Load(last, "append", {}, primary, again=random.random() < 0.3)


def told_apart(graph, stream, primary):
    """An upsert by keys of which each run's last row is sure."""
    random = graph.random
    keys = ["id"] if primary else graph.some(stream.of(*graphs.KEYS, "wild"), 1, 2)
    if not keys:
        return Load(stream, "append")
    if not stream.identity:
        order = graph.order(stream)
        if order is None:
            return Load(stream, "append")
        config = {"keys": keys, "keep": random.choice(["first", "last"]), "orderBy": order}
        stream = stream.at(graph.node("deduplicate", config, (stream, None)), stream.tied())
    named = {} if primary and random.random() < 0.5 else {"upsertKey": keys}
    return Load(stream, "upsert", named, primary, keys, again=True)


class Load:
    def __init__(self, stream, mode=None, config=None, primary=False, keys=(), again=False):
        self.stream, self.mode, self.primary, self.keys = stream, mode or "append", primary, list(keys)
        self.config = ({"loadMode": mode} if mode else {}) | (config or {})
        # What the schema asks of columns.
        self.required, self.lengths = set(), {}
        # Runs of the pipeline; before the second one the files change.
        self.runs = 2 if again else 1

    def asks(self, column):
        """What the schema asks of a column beside its type."""
        primary = {"isPrimaryKey": True} if self.primary and column == "id" else {}
        required = {"isNullable": False} if column in self.required else {}
        return primary | required | ({"dataType": "varchar", "length": self.lengths[column]} if column in self.lengths else {})


def limited(graph, load):
    """The same, with a schema that does not take every value."""
    random, stream = graph.random, load.stream
    fields = [name for name in stream.exact() if stream.columns[name] not in ("list", "json")]
    if fields and random.random() < 0.3:
        load.required = set(graph.some(fields, 1, 2))
    texts = stream.of("text", "num")
    if texts and random.random() < 0.3:
        load.lengths = {random.choice(texts): random.choice([1, 3, 5])}
    return load


class Table:
    """What the target's table holds, as the temporary table `held` of DuckDB."""

    def __init__(self, con, load):
        self.con, self.load, self.begun = con, load, False

    def begin(self, rows):
        """The table is made with the columns of the first rows."""
        if not self.begun:
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE held AS SELECT * FROM {rows} LIMIT 0")
            if self.load.mode == "incremental_watermark":
                column = f'"{self.load.config["watermarkColumn"]}"'
                self.con.execute(f"CREATE OR REPLACE TEMP TABLE mark AS SELECT {column} AS value FROM {rows} LIMIT 0")
            self.begun = True

    def count(self, what):
        return self.con.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def meet(self, rows):
        """What a run does with the rows of the table `rows`: how many it takes, rejects and skips, and whether it refuses to
        end well. Nothing changes before `take`."""
        self.begin(rows)
        config, total = self.load.config, self.count(rows)
        made = lambda name, sql: self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")
        bad = " OR ".join([f'"{name}" IS NULL' for name in {*self.load.required, *self.load.keys}]
                          + [f'length("{name}") > {most}' for name, most in self.load.lengths.items()]) or "false"
        past, ties, column = rows, "false", f'"{config.get("watermarkColumn")}"'
        if self.load.mode == "incremental_watermark":
            # What is below the watermark is left out before anything else is asked.
            bad, ties = f"({bad} OR {column} IS NULL)", f"{column} = (SELECT value FROM mark)"
            past = f"(SELECT * FROM {rows} WHERE NOT coalesce({column} < (SELECT value FROM mark), false))"
        rejected = self.count(f"{past} WHERE {bad}")
        good = f"SELECT * FROM {past} WHERE NOT coalesce({bad}, false)"
        if self.load.mode == "upsert":
            keys = ", ".join(f'"{key}"' for key in self.load.keys)
            last = f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY id DESC) = 1" if self.load.stream.identity else ""
            made("taken", good + last)
        elif self.load.mode == "incremental_watermark":
            same = (f"{good} AND {ties} AND id NOT IN (SELECT id FROM held WHERE {ties})" if self.load.primary
                    else f"{good} AND {ties} EXCEPT ALL SELECT * FROM held WHERE {ties}")
            made("taken", f"{good} AND NOT coalesce({ties}, false) UNION ALL BY NAME ({same})")
        else:
            made("taken", good)
        taken = self.count("taken")
        refuses = self.load.mode == "truncate" and not config.get("allowEmpty") and taken == 0
        return {"rowsIn": total, "rowsOut": taken, "rejected": rejected, "skipped": total - rejected - taken}, refuses

    def take(self):
        """The run ends well: what it takes is in the table."""
        if self.load.mode == "truncate":
            self.con.execute("DELETE FROM held")
        if self.load.mode == "upsert":
            same = " AND ".join(f'held."{key}" = taken."{key}"' for key in self.load.keys)
            self.con.execute(f"DELETE FROM held WHERE EXISTS (SELECT 1 FROM taken WHERE {same})")
        self.con.execute("INSERT INTO held BY NAME SELECT * FROM taken")
        if self.load.mode == "incremental_watermark":
            column = f'"{self.load.config["watermarkColumn"]}"'
            greatest = f"SELECT max(value) AS value FROM (SELECT {column} AS value FROM taken UNION ALL SELECT value FROM mark)"
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE mark AS SELECT value FROM ({greatest}) WHERE value IS NOT NULL")
