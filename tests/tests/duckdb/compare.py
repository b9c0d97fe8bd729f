"""Runs random graphs over random data through a stack and through DuckDB, and compares what comes out.

    python compare.py --url URL --token JWT --files FOLDER --lake FOLDER/TENANT --seed N --cases N

A case is told by its seed alone: `--seed S --cases 1` runs the first one of S again, `--only K` the one with number K.
"""

import argparse
import collections
import concurrent.futures
import json
import math
import pathlib
import random
import re
import sys
import threading
import time
import traceback
from decimal import Decimal

import duckdb
import duckdb_extension_delta

import data
import graphs
import loads
import question
import stack

# How far the sum, mean or deviation of doubles may be from another order's.
TOLERANCE = 1e-9
# Nodes whose rows are others than those that came in.
MAKE_ROWS = ("join", "aggregate", "pivot", "unpivot", "sql")
# Where a node may leave rows.
LEAVES = {"filter": "filtered", "sort": "filtered", "branch": "filtered", "deduplicate": "deduplicated", "union": "deduplicated"}
COUNTS = ("rowsOut", "filtered", "rejected", "deduplicated")


class Case:
    """One graph with its sources, run in a folder of its own, once or twice."""

    def __init__(self, world, name, graph, sources=None):
        self.world, self.name, self.graph, self.sources = world, name, graph, sources or graph.sources
        self.nodes, self.edges, self.load = graph.nodes, graph.edges, graph.load
        self.last = self.load.stream
        # What was seen, for the report, and how long it took.
        self.seen, self.seconds = collections.Counter(), 0

    def play(self):
        """What is wrong: an empty text where nothing is."""
        self.seen = collections.Counter()
        folder = self.world.root / self.name
        folder.mkdir(parents=True, exist_ok=True)
        con, kept, places = self.world.duckdb(), [], {}
        table, pipeline = loads.Table(con, self.load), None
        for number in range(self.load.runs):
            rows = {s["path"]: s["again" if number else "rows"] for s in self.sources}
            reads = {s["path"]: data.write(con, s, rows[s["path"]], folder) for s in self.sources}
            asked, overflows = self.ask(con, reads)
            columns = asked.columns(self.nodes[-1]["id"])
            taken, refuses = table.meet(self.nodes[-1]["id"])
            if pipeline is None:
                fields = [field(*column) | self.load.asks(column[0]) for column in columns]
                nodes = [in_folder(node, self.name, self.world.connector) for node in self.nodes]
                pipeline = self.world.stack.pipeline(self.name, self.world.connector, fields, nodes, self.edges, self.graph.execution)
            run = Run(self, asked, taken, *pipeline.run())
            places[run.run["id"]] = {s["name"]: data.places(s, rows[s["path"]]) for s in self.sources}
            self.seen["runs"] += 1
            self.seen["spilling"] += "sort and spill" in run.run["log"]
            self.seen["rows"] += sum(asked.counts.values())
            wrong, ended_well = run.end(overflows, refuses)
            if ended_well:
                table.take()
                kept += run.kept(con) if self.graph.execution.get("errorHandling", {}).get("onError") == "deadLetter" else []
            wrong += self.rows(con, columns, pipeline.table)
            wrong += run.beside(con, pipeline.rejected_table, kept, places)
            if wrong:
                return "\n".join([f"in run {number + 1} of {self.load.runs} ({self.load.mode})"][:self.load.runs - 1] + wrong)
        return ""

    def name_of(self, nodes, stored):
        """The client's id of a node by the stored one."""
        return next((name for name, node in nodes.items() if node["id"] == stored), stored)

    def ask(self, con, reads):
        """DuckDB's answer, and whether a sum is more than its type holds; it is null then."""
        try:
            asked, overflows = question.Question(con, self.nodes, self.edges, reads, self.world.arguments.most), False
            asked.ask()
        except (duckdb.ConversionException, duckdb.OutOfRangeException):
            asked, overflows = question.Question(con, self.nodes, self.edges, reads, self.world.arguments.most, lenient=True), True
            asked.ask()
        return asked, overflows

    def rows(self, con, columns, table):
        """Compares what the table holds with what it should, the types too."""
        wrong, there = [], (table / "_delta_log").exists()
        # DuckDB's own reader of Delta tables.
        table = f"delta_scan({data.quote(table)})"
        if there:
            types = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
            expected = {name: stored(kind) for name, kind in columns}
            wrong += [f"the column {name} is {types.get(name)} in the table, and should be {kind}" for name, kind in expected.items() if types.get(name) != kind]
        if wrong:
            return wrong
        names = ", ".join(question.name(column) for column, _ in columns)
        values = ", ".join(shown(column, kind) for column, kind in columns)
        wanted = con.execute(f"SELECT {values} FROM held").fetchall()
        got = con.execute(f"SELECT {values} FROM {table}").fetchall() if there else []
        vague = [column in self.last.approx or (self.last.vague_rest and column not in self.last.columns) for column, _ in columns]
        unsigned = [column in self.last.unsigned or (self.last.unsigned_rest and column not in self.last.columns) for column, _ in columns]
        kinds = [kind for _, kind in columns]
        got = [tuple(map(listed, row, kinds)) for row in got]
        wanted = [tuple(canonical(cell) if kind == "JSON" else cell for cell, kind in zip(row, kinds)) for row in wanted]
        wanted, got = (sorted((keyed(row, vague, unsigned) for row in rows), key=repr) for rows in (wanted, got))
        self.seen["compared"] += len(wanted)
        missing, extra = apart(wanted, got)
        if not missing and not extra:
            return []
        return [f"columns {names}"] + [f"only DuckDB has {row}" for row in missing[:5]] + [f"only Flowgate has {row}" for row in extra[:5]]


class Run:
    """One run of a case beside what DuckDB says of it."""

    def __init__(self, case, asked, taken, run, nodes, errors):
        self.case, self.asked, self.taken, self.run, self.nodes, self.errors = case, asked, taken, run, nodes, errors
        self.target = case.nodes[-1]["id"]
        self.rejects = sum(asked.count(table) for tables in asked.rejected.values() for _, table in tables) + taken["rejected"]

    def end(self, overflows, refuses):
        """What is wrong with how the run ended and with its counts, and whether it ended well."""
        handling = self.case.graph.execution.get("errorHandling", {})
        reasons = {node: "" for node in self.asked.fails}
        if refuses:
            reasons[self.target] = "allowEmpty"
        too_many = handling.get("onError") == "fail" and self.rejects > 0 or self.rejects > handling.get("maxErrors", self.rejects)
        status, error = self.run["status"], self.run["error"]
        if status == "failed":
            self.case.seen["failed"] += 1
            wrong = self.partial()
            node = self.case.name_of(self.nodes, error.get("nodeId"))
            known = node in reasons and reasons[node] in error["message"]
            if not known and not too_many and not (overflows and re.search("(?i)overflow|too large|cast", json.dumps(error))):
                wrong.append(f"the run fails, and nothing says that it should: {error} (nodes that may: {reasons})")
            return wrong, False
        # Where nobody asks for a sum, it need not be made.
        if reasons or too_many:
            return [f"the run is {status}, and should fail: {reasons}, {self.rejects} rejected rows, {handling}"], True
        if status != ("completed_with_errors" if self.rejects else "completed"):
            return [f"the run is {status} with {self.rejects} rejected rows: {error}"], status.startswith("completed")
        return self.accounting(), True

    def partial(self):
        """A failed run has written nothing, and no node gives more than it takes."""
        wrong = []
        if self.run["rowsOut"]:
            wrong.append(f"the failed run says that it has written {self.run['rowsOut']} rows")
        for node in self.case.nodes:
            n = self.nodes[node["id"]]
            if node["nodeType"] not in MAKE_ROWS and n["rowsIn"] < sum(n[count] for count in COUNTS):
                wrong.append(f"{node['id']} of the failed run gives more rows than it takes: {n}")
        return wrong

    def accounting(self):
        """Every row is accounted for, and each node takes, gives and leaves as many rows as DuckDB's."""
        wrong, asked = [], self.asked
        for node in self.case.nodes:
            name, kind, n = node["id"], node["nodeType"], self.nodes[node["id"]]
            if kind not in MAKE_ROWS and n["rowsIn"] != sum(n[count] for count in COUNTS):
                wrong.append(f"the rows of {name} do not add up: {n}")
            expected = {"rowsIn": asked.counts[name] if kind == "source" else asked.given(node), "rowsOut": asked.counts[name], "filtered": 0,
                        "deduplicated": 0, "rejected": sum(asked.count(table) for _, table in asked.rejected[name])}
            if kind in LEAVES:
                expected[LEAVES[kind]] = expected["rowsIn"] - expected["rowsOut"]
            if kind == "target":
                expected |= {"rowsOut": self.taken["rowsOut"], "rejected": self.taken["rejected"],
                             "filtered" if self.case.load.mode == "incremental_watermark" else "deduplicated": self.taken["skipped"]}
            got = {count: n[count] for count in expected}
            if got != expected:
                wrong.append(f"{name} ({kind}) counts {got}, and DuckDB's {expected}")
            warned = {(name, one["rule"]): one["rows"] for one in n.get("warnings", [])}
            if warned != {key: rows for key, rows in asked.warned.items() if key[0] == name}:
                wrong.append(f"{name} warns of {warned}, and DuckDB of {asked.warned}")
        read = sum(asked.counts[node["id"]] for node in self.case.nodes if node["nodeType"] == "source")
        whole = {"rowsIn": read, "rowsOut": self.taken["rowsOut"], "failedRows": self.rejects, "skippedRows": self.taken["skipped"]}
        got = {count: self.run[count] for count in whole}
        if got != whole:
            wrong.append(f"the run counts {got}, and DuckDB's {whole}")
        if len(self.errors) != self.rejects:
            wrong.append(f"{len(self.errors)} rejected rows are listed, and {self.rejects} were rejected")
        return wrong

    def kept(self, con):
        """The rows that this run is to keep beside the table: (run, client's node, rule or column, the row's plain columns)."""
        rows = []
        for node, tables in self.asked.rejected.items():
            for tag, table in tables:
                names = [name for name, kind in self.asked.columns(table) if kind in PLAIN]
                values = ", ".join(shown(name, PLAIN[kind]) for name, kind in self.asked.columns(table) if kind in PLAIN) or "NULL"
                for row in con.execute(f"SELECT {values} FROM {table}").fetchall():
                    rows.append((self.run["id"], node, tag, dict(zip(names, row))))
        return rows + [(self.run["id"], self.target, None, None)] * self.taken["rejected"]

    def beside(self, con, table, kept, places):
        """Compares the kept rows of all runs so far with those in the table beside the target's."""
        got = []
        if (table / "_delta_log").exists():
            got = con.execute(f"SELECT run_id, node, reason, \"column\", data, row, file FROM delta_scan({data.quote(table)})").fetchall()
        self.case.seen["kept"] += len(kept)
        unmatched, wrong = list(kept), []
        for run, node, reason, column, text, row, file in got:
            node = self.case.name_of(self.nodes, node)
            rule = re.match(r'rule "((?:[^"\\]|\\.)*)"', reason)
            tag = None if node == self.target else rule[1] if rule else column
            whole = json.loads(text)
            at = next((at for at, one in enumerate(unmatched) if one[:3] == (run, node, tag)
                       and (one[3] is None or all(name in whole and whole[name] == value for name, value in one[3].items()))), None)
            if at is None:
                wrong.append(f"a kept row that nobody rejects: {(run, node, tag, text, reason)}")
            else:
                unmatched.pop(at)
            place = places[run].get(self.case.graph.origins.get(node), {}).get(whole.get("id"))
            if place and (file.rsplit("/", 1)[-1], row) != place:
                wrong.append(f"a kept row says that it is row {row} of {file}, and is {place}: {text}")
        return (wrong + [f"a rejected row that is not kept: {one}" for one in unmatched])[:5]


# The types whose values JSON has as they are, with that in which they are compared.
PLAIN = {"BIGINT": "BIGINT", "INTEGER": "INTEGER", "SMALLINT": "SMALLINT", "VARCHAR": "VARCHAR", "BOOLEAN": "BOOLEAN", "UUID": "UUID"}


def shown(column, kind):
    """A column in words that Python reads without another package."""
    column_ = question.name(column)
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({column_})"
    return f"CAST({column_} AS VARCHAR)" if kind in ("UUID", "JSON") else column_


def stored(kind):
    """The type that the table's column has for DuckDB where the answer's is `kind`."""
    if kind in ("UUID", "JSON", '"NULL"') or kind.endswith("[]"):
        return "VARCHAR"
    return {"HUGEINT": "DECIMAL(38,0)", "UBIGINT": "DECIMAL(38,0)", "TINYINT": "SMALLINT"}.get(kind, kind)


def keyed(row, vague, unsigned):
    """A row as what is exact in it and what is not; NaN equals NaN."""
    exact = tuple(None if v else plain(cell, u) for cell, v, u in zip(row, vague, unsigned))
    return exact, tuple(cell for cell, v in zip(row, vague) if v)


def plain(cell, unsigned=False):
    if isinstance(cell, list):
        return tuple(plain(one) for one in cell)
    if isinstance(cell, float):
        if cell == 0 and math.copysign(1, cell) < 0 and not unsigned:
            # It is equal to 0.0, but not the same.
            return "-0.0"
        return "NaN" if math.isnan(cell) else cell + 0.0
    if hasattr(cell, "as_tuple"):
        # A decimal is what it is worth, whatever zeros it ends with, and a whole one is a whole number.
        text = f"{cell:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return int(text) if "." not in text else text
    return cell if cell is None or isinstance(cell, (bool, int, str)) else str(cell)


def canonical(text):
    """JSON without white space; digits stay as they are written."""
    return None if text is None else json.dumps(json.loads(text, parse_float=str, parse_int=str), ensure_ascii=False)


def listed(cell, kind):
    """The values in the text of a list, and JSON as it is compared."""
    if kind == "JSON":
        return canonical(cell)
    if not kind.endswith("[]") or cell is None:
        return cell
    values = json.loads(cell, parse_float=Decimal)
    return [value and value.replace("T", " ") for value in values] if kind == "TIMESTAMP[]" else values


def near(one, other):
    for a, b in zip(one, other):
        if a is None or b is None:
            if a is not b:
                return False
        elif math.isnan(a) or math.isnan(b):
            if not (math.isnan(a) and math.isnan(b)):
                return False
        elif not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return False
    return True


def apart(wanted, got):
    """The rows that only one side has."""
    rest, missing = {}, []
    for exact, approx in got:
        rest.setdefault(exact, []).append(approx)
    for exact, approx in wanted:
        others = rest.get(exact, [])
        at = next((i for i, other in enumerate(others) if near(approx, other)), None)
        if at is None:
            missing.append((exact, approx))
        else:
            others.pop(at)
    return missing, [(exact, approx) for exact, others in rest.items() for approx in others]


def field(name, kind):
    """The field of a schema that holds what DuckDB's column holds."""
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", kind):
        return {"name": name, "dataType": "decimal", "precision": int(match[1]), "scale": int(match[2])}
    if kind in ("HUGEINT", "UBIGINT"):
        return {"name": name, "dataType": "decimal", "precision": 38, "scale": 0}
    if kind.endswith("[]"):
        return {"name": name, "dataType": "json"}
    types = {"BIGINT": "bigint", "INTEGER": "integer", "SMALLINT": "smallint", "TINYINT": "smallint", "DOUBLE": "double", "FLOAT": "real",
             "VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date", "TIMESTAMP": "timestamp", '"NULL"': "text",
             "TIMESTAMP WITH TIME ZONE": "timestamptz", "JSON": "json", "UUID": "uuid"}
    return {"name": name, "dataType": types[kind]}


def in_folder(node, folder, connector):
    """The node with paths below the folder of its case."""
    config = node["config"]
    if node["nodeType"] == "source":
        return node | {"config": config | {"path": f"{folder}/{config['path']}"}}
    if node["nodeType"] == "transform":
        ops = [op if op["op"] != "lookup" else op | {"path": f"{folder}/{op['path']}", "connectorId": connector} for op in config["ops"]]
        return node | {"config": {"ops": ops}}
    return node


class World:
    def __init__(self, arguments):
        self.arguments = arguments
        self.root = pathlib.Path(arguments.files)
        self.stack = stack.Stack(arguments.url, arguments.token, arguments.lake)
        self.connector = self.stack.call("POST", "/connectors", {"name": "random", "type": "local_fs", "config": {"path": "."}})["id"]
        self.local = threading.local()
        self.con = duckdb.connect(config={"threads": 1})
        extension = next(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("*.duckdb_extension"))
        self.con.execute(f"LOAD {data.quote(extension)}")

    def duckdb(self):
        """A connection for each thread, with tables of its own: to open one takes longer than most questions."""
        if not hasattr(self.local, "con"):
            self.local.con = self.con.cursor()
            self.local.con.execute("SET TimeZone = 'UTC'")
        return self.local.con

    def case(self, number):
        seed = random.Random(f"{self.arguments.seed}/{number}")
        graph = graphs.Graph(seed, self.arguments.features.split(","), self.arguments.large)
        graph.grow()
        return Case(self, f"c{number}", graph)


def play(case):
    begun = time.monotonic()
    try:
        return case.play()
    except question.TooLarge:
        case.seen["too large"] += 1
        return ""
    except Exception:
        return traceback.format_exc()
    finally:
        case.seconds = time.monotonic() - begun


def word(fault):
    """What must stay the same while a case is made smaller: the kind of fault."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "", fault)[:40]


def smaller(case, fault):
    """A smaller case that is wrong in the same way."""
    tries, kind = 0, word(fault)

    def still(candidate):
        nonlocal tries
        tries += 1
        candidate.name = f"{case.name}_{tries}"
        found = play(candidate)
        return found if found and word(found) == kind else None

    for source, which in [(source, which) for source in case.sources for which in ("again", "rows")]:
        size = max(1, len(source[which]) // 2)
        while size >= 1 and tries < case.world.arguments.shrinks and source[which]:
            for at in range(0, len(source[which]), size):
                rows = source[which][:at] + source[which][at + size:]
                fewer = [s if s is not source else s | {which: rows} for s in case.sources]
                found = still(Case(case.world, "", case.graph, fewer))
                if found:
                    fault, source[which] = found, rows
                    break
                if tries >= case.world.arguments.shrinks:
                    break
            else:
                size //= 2
    return fault


def report(case, number, seed, fault):
    print(f"\n*** case {number} of seed {seed} (--seed {seed} --only {number})\n{fault}")
    for node in case.nodes:
        print("  node", json.dumps(node, ensure_ascii=False))
    print("  edges", " ".join(f"{e['source']}-{e.get('label', '')}>{e['target']}" for e in case.edges))
    print(f"  executionConfig {json.dumps(case.graph.execution)}")
    for source in case.sources:
        print(f"  {source['path']}", [name for name, _ in source["columns"]])
        for which in ("rows", "again")[:case.load.runs]:
            print(f"   {which}")
            for row in source[which][:40]:
                print("   ", [data.plain(cell) if cell is not None else None for cell in row])


def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "token", "files", "lake"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--only", type=int)
    parser.add_argument("--features", default="")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--shrinks", type=int, default=40)
    parser.add_argument("--large", action="store_true", help="thousands of rows a source")
    parser.add_argument("--most", type=int, default=100_000, help="rows of a node past which a graph is not run")
    arguments = parser.parse_args()
    world, begun = World(arguments), time.monotonic()
    numbers = [arguments.only] if arguments.only is not None else range(arguments.cases)
    print(f"{len(numbers)} random graphs against DuckDB {duckdb.__version__}, seed {arguments.seed}", flush=True)
    cases = {number: world.case(number) for number in numbers}
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        faults = dict(zip(cases, pool.map(play, cases.values())))
    wrong = {number: fault for number, fault in faults.items() if fault}
    # One of each kind of fault is enough to begin with.
    shown = {}
    for number, fault in wrong.items():
        if len(shown) < 5 and word(fault) not in shown:
            shown[word(fault)] = number
            report(cases[number], number, arguments.seed, smaller(cases[number], fault))
    for number in wrong.keys() - shown.values():
        print(f"*** case {number} too: {wrong[number].strip().splitlines()[-1][:300]}")
    tell(cases.values(), len(wrong), time.monotonic() - begun)
    sys.exit(1 if wrong else 0)


def tell(cases, wrong, seconds):
    """What was run."""
    seen, nodes, modes, ops = (collections.Counter() for _ in range(4))
    for case in cases:
        seen += case.seen
        modes[case.load.mode] += 1
        for node in case.nodes:
            nodes[node["nodeType"]] += 1
            ops.update(op["op"] for op in node["config"].get("ops", []))
            ops.update(f"validate {rule['rule']}" for rule in node["config"].get("rules", []))
    listing = lambda counter: ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
    print(f"{len(cases) - wrong - seen['too large']:,} of {len(cases):,} graphs are equal, {wrong} differ, {seen['too large']} were too large to be run; "
          f"{seconds:.1f} s")
    print(f"{seen['runs']:,} runs ({seen['failed']} had to fail, {seen['spilling']} joined on disk), {seen['rows']:,} rows given by nodes, {seen['compared']:,} rows in tables and "
          f"{seen['kept']:,} kept rejected ones compared")
    slow = sorted(cases, key=lambda case: -case.seconds)[:3]
    print(f"the slowest: {', '.join(f'{case.name} {case.seconds:.1f} s' for case in slow)}")
    print(f"nodes: {listing(nodes)}\nops and rules: {listing(ops)}\nload modes: {listing(modes)}")


if __name__ == "__main__":
    main()
