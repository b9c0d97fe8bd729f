"""Runs random graphs over random data through a stack and through DuckDB, and compares what comes out.

    python compare.py --url URL --token JWT --files FOLDER --lake FOLDER/TENANT --seed N --cases N

A case is told by its seed alone: `--seed S --cases 1` runs the first one of S again, `--only K` the one with number K.
"""

import argparse
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

import data
import graphs
import question
import stack

# How far the sum, mean or deviation of doubles may be from another order's.
TOLERANCE = 1e-9
# Nodes whose rows are others than those that came in.
MAKE_ROWS = ("join", "aggregate", "pivot", "unpivot", "sql")


class Case:
    """One graph with its sources, run in a folder of its own."""

    def __init__(self, world, name, sources, nodes, edges, last):
        self.world, self.name, self.sources = world, name, sources
        self.nodes, self.edges, self.last = nodes, edges, last
        # Whether a sum is more than its type holds, by DuckDB.
        self.overflows = False

    def play(self):
        """What is wrong: an empty text where nothing is."""
        folder = self.world.root / self.name
        folder.mkdir(parents=True, exist_ok=True)
        con = self.world.duckdb()
        reads = {f"{s['name']}.{s['format']}": data.write(con, s, folder) for s in self.sources}
        try:
            columns, counts = question.Question(con, self.nodes, self.edges, reads).ask()
        except (duckdb.ConversionException, duckdb.OutOfRangeException):
            self.overflows = True
            columns, counts = question.Question(con, self.nodes, self.edges, reads, lenient=True).ask()
        fields = [field(*column) for column in columns]
        nodes = [in_folder(node, self.name, self.world.connector) for node in self.nodes]
        run, seen, schema = self.world.stack.run(self.name, self.world.connector, fields, nodes, self.edges)
        if self.overflows and run["status"] == "failed":
            said = json.dumps(run["error"])
            return "" if re.search("(?i)overflow|too large|cast", said) else f"a sum is too large, and the run says {said}"
        # Where nobody asks for the sum, it need not be made; its column is not there to be compared.
        if run["status"] not in ("completed", "completed_with_errors"):
            return f"the run is {run['status']}: {run['error']}"
        files = self.world.stack.files(schema)
        wrong = self.accounting(run, seen, counts) + self.rows(con, columns, files)
        return "\n".join(wrong)

    def accounting(self, run, seen, counts):
        """Every row is accounted for, and each node gives as many rows as DuckDB's."""
        wrong, given = [], {}
        for node in self.nodes:
            n = seen[node["id"]]
            total = n["rowsOut"] + n["filtered"] + n["rejected"] + n["deduplicated"]
            if node["nodeType"] not in MAKE_ROWS and n["rowsIn"] != total:
                wrong.append(f"the rows of {node['id']} do not add up: {n}")
            if n["rowsOut"] != counts[node["id"]]:
                wrong.append(f"{node['id']} ({node['nodeType']}) gives {n['rowsOut']} rows, DuckDB's gives {counts[node['id']]}")
            inputs = [edge["source"] for edge in self.edges if edge["target"] == node["id"]]
            if inputs and not any(node["nodeType"] == "branch" for node in self.nodes) and n["rowsIn"] != sum(given[i] for i in inputs):
                wrong.append(f"{node['id']} takes {n['rowsIn']} rows of {[given[i] for i in inputs]}")
            given[node["id"]] = n["rowsOut"]
        read = sum(len(source["rows"]) for source in self.sources if any(n["config"].get("path", "").startswith(source["name"] + ".") for n in self.nodes))
        rejected = sum(n["rejected"] for n in seen.values())
        if (run["rowsIn"], run["rowsOut"], run["failedRows"]) != (read, given[self.nodes[-1]["id"]], rejected):
            wrong.append(f"the run counts {run['rowsIn']}, {run['rowsOut']}, {run['failedRows']}; {read} were in the files, {rejected} rejected")
        return wrong

    def rows(self, con, columns, files):
        names = ", ".join(question.name(column) for column, _ in columns)
        kinds = {column: kind for column, kind in columns}
        wanted = con.execute(f"SELECT {names} FROM {self.nodes[-1]['id']}").fetchall()
        got = con.execute(f"SELECT {names} FROM read_parquet({files!r})").fetchall() if files else []
        lists = {at: kind for at, kind in enumerate(kinds.values()) if kind.endswith("[]")}
        got = [tuple(listed(cell, lists[at]) if at in lists else cell for at, cell in enumerate(row)) for row in got] if lists else got
        vague = [column in self.last.approx or (self.last.vague_rest and column not in self.last.columns) for column in kinds]
        wanted, got = (sorted((keyed(row, vague) for row in rows), key=repr) for rows in (wanted, got))
        missing, extra = apart(wanted, got)
        if not missing and not extra:
            return []
        return [f"columns {names}"] + [f"only DuckDB has {row}" for row in missing[:5]] + [f"only Flowgate has {row}" for row in extra[:5]]


def keyed(row, vague):
    """A row as what is exact in it and what is not; NaN equals NaN, and the two zeros are one."""
    exact = tuple(None if v else plain(cell) for cell, v in zip(row, vague))
    return exact, tuple(cell for cell, v in zip(row, vague) if v)


def plain(cell):
    if isinstance(cell, list):
        return tuple(plain(one) for one in cell)
    if isinstance(cell, float):
        return "NaN" if math.isnan(cell) else cell + 0.0
    if hasattr(cell, "as_tuple"):
        # A decimal is what it is worth, whatever zeros it ends with, and a whole one is a whole number.
        text = f"{cell:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return int(text) if "." not in text else text
    return cell if cell is None or isinstance(cell, (bool, int, str)) else str(cell)


def listed(cell, kind):
    """The values in the text of a list; digits stay as they are written."""
    values = None if cell is None else json.loads(cell, parse_float=Decimal)
    if values is not None and kind == "TIMESTAMP[]":
        values = [value and value.replace("T", " ") for value in values]
    return values


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
             "VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date", "TIMESTAMP": "timestamp", '"NULL"': "text"}
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

    def duckdb(self):
        """A connection for each thread: to open one takes longer than most questions."""
        if not hasattr(self.local, "con"):
            self.local.con = duckdb.connect(config={"threads": 1})
            self.local.con.execute("SET TimeZone = 'UTC'")
        return self.local.con

    def case(self, number):
        graph = graphs.Graph(random.Random(f"{self.arguments.seed}/{number}"), self.arguments.features.split(","))
        last = graph.grow()
        return Case(self, f"c{number}", graph.sources, graph.nodes, graph.edges, last)


def play(case):
    try:
        return case.play()
    except Exception:
        return traceback.format_exc()


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

    for source in case.sources:
        size = max(1, len(source["rows"]) // 2)
        while size >= 1 and tries < case.world.arguments.shrinks and source["rows"]:
            for at in range(0, len(source["rows"]), size):
                fewer = [s if s is not source else s | {"rows": s["rows"][:at] + s["rows"][at + size:]} for s in case.sources]
                found = still(Case(case.world, "", fewer, case.nodes, case.edges, case.last))
                if found:
                    fault, source["rows"] = found, source["rows"][:at] + source["rows"][at + size:]
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
    for source in case.sources:
        print(f"  {source['name']}.{source['format']}", [name for name, _ in source["columns"]])
        for row in source["rows"]:
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
    kinds = {}
    for case in cases.values():
        for node in case.nodes:
            kinds[node["nodeType"]] = kinds.get(node["nodeType"], 0) + 1
    print(f"{len(cases) - len(wrong)} of {len(cases)} are equal, in {time.monotonic() - begun:.1f} s; nodes: {kinds}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
