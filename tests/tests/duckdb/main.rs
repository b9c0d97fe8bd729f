//! Random graphs over random data, run by a stack and by DuckDB, which must come to the same rows.
//!
//! `compare.py` makes graphs and files from a seed, runs each graph through HTTP into a Delta table, asks DuckDB the
//! same question in SQL that is written from the nodes' definitions (`question.py`, `loads.py`), and compares the rows
//! of the table as DuckDB's own Delta reader sees them, the rows that every node takes, gives and leaves, the rows that
//! are kept beside the table, and that a run fails where it should and then has changed nothing. Half of the graphs run
//! twice, over files that have changed, so that load modes meet a table with rows.
//!
//! It runs where `CI` is set, or where `FLOWGATE_DUCKDB` says how many graphs: `FLOWGATE_DUCKDB=2000
//! FLOWGATE_DUCKDB_SEED=7 cargo test --workspace --test duckdb`. A few of them are over thousands of rows, on a
//! worker with so little memory that it works on its disk. Every seed is printed; `FLOWGATE_DUCKDB_ONLY=12` runs one graph
//! of a seed again.
//!
//! Where the two mean different things, the definition is ours and the question is put accordingly:
//!
//! | where | Flowgate | DuckDB | how it is compared |
//! |---|---|---|---|
//! | `/` of whole numbers | whole | a double | not made |
//! | a number past 64 bits in an expression | the row is rejected | the query fails | not made |
//! | a cast of a number with a fraction, or of a text of one | never rounds: a misfit | rounds | `CASE WHEN x = trunc(x)` and regular expressions |
//! | texts of booleans, dates and numbers | those of the documentation | more of them, such as `1_000` | regular expressions |
//! | a sum that its type does not hold | fails the run | hugeint, or fails | the run fails, unless nobody asks for the sum |
//! | `sum` of decimals past 38 digits on the way to one that fits | exact | fails | in two parts, whose digits are put together |
//! | the mean of decimals | a decimal | a double | as doubles |
//! | what is in a list | JSON | a list | the JSON is read |
//! | `first`, `last` | in the order of the source | no order | `ORDER BY id` |
//! | the last digits of sums, means and deviations of doubles | of one order of adding | of another | relative difference of 1e-9, and no keys of them |
//! | which zero stands for both where rows that are equal compete (groups, unions, ties) | either | either | by their worth; all others by their signs |
//! | -0.0 in a column by which is sorted | -0.0 | 0.0 | a zero is added to DuckDB's key, which leaves the column alone |
//! | JSON out of a JSON line, `json`, `uuid` and lists in a table | texts | texts of its own, `JSON`, `UUID`, lists | as texts, JSON without its white space |
//! | the first row of a unique value, the last one of a key | in the order of the source | no order | `ORDER BY id`; where there is no order, a deduplicate node comes first |
//! | which row a run that must fail fails at | any | none | that it fails, at a node that says so, and nothing has changed |
//! | `ltrim` without characters | takes spaces | takes all white space, also U+00A0 | the characters are said |
//! | an empty field of a CSV file | null | null where `nullstr` is empty | no empty texts in CSV |

#[path = "../python/mod.rs"]
mod python;

use shared::roles::Role;
use std::path::Path;
use std::process::{Output, Stdio};
use tests::World;

/// Graphs in CI.
const GRAPHS: usize = 200;
/// Of so many graphs one more is over thousands of rows.
const LARGE: usize = 25;
/// The memory of a run over thousands of rows, in bytes.
const LITTLE: usize = 4 << 20;
/// Their seed where none is given, so that one commit always meets the same graphs.
const SEED: &str = "2026";
/// Nodes that are made besides those that are always made.
const FEATURES: &str = "unpivot,validate,branch,pivot,sql,lookup,array_agg";

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_graphs_come_to_the_rows_that_duckdb_comes_to() {
    compare("random graphs against DuckDB", |graphs| graphs, None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_graphs_over_more_rows_than_memory_holds_come_to_the_same_rows() {
    let name = "random graphs over thousands of rows against DuckDB";
    compare(name, |graphs| graphs.div_ceil(LARGE), Some(LITTLE), &["--large", "--shrinks", "0"]).await;
}

/// Compares as many graphs as `share` makes of those that are asked for, on a stack whose runs have so much memory.
async fn compare(name: &str, share: fn(usize) -> usize, memory: Option<usize>, more: &[&str]) {
    let asked = setting("FLOWGATE_DUCKDB").map(|text| text.parse().expect("FLOWGATE_DUCKDB is a number of graphs"));
    let Some(graphs) = asked.or_else(|| setting("CI").map(|_| GRAPHS)) else {
        python::say(&format!("NOT RUN: {name}; they run with CI=true or FLOWGATE_DUCKDB={GRAPHS}"));
        return;
    };
    let Some(tools) = python::Tools::install(&python::DELTA, name) else { return };
    let world = World::with(|options| {
        options.concurrent_runs = 4;
        options.memory_bytes = memory.unwrap_or(options.memory_bytes);
    })
    .await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/duckdb/compare.py");
    let mut command = tools.command("python");
    command.arg("-B").arg(script).args(["--url", &world.stack.url(), "--cases", &share(graphs).to_string()]);
    command.args(["--features", FEATURES]).args(more);
    command.args(["--token", &world.stack.token(Role::Editor, "random").unwrap()]);
    command.arg("--files").arg(world.stack.files_root());
    command.arg("--lake").arg(world.folder().join("data/lake/random"));
    command.args(["--seed", &setting("FLOWGATE_DUCKDB_SEED").unwrap_or_else(|| SEED.to_owned())]);
    if let Some(only) = setting("FLOWGATE_DUCKDB_ONLY") {
        command.args(["--only", &only]);
    }
    let run = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let Output { status, stdout, stderr } = run.await.unwrap().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    python::say(&said);
    assert!(status.success(), "the rows differ, as said above");
}
