//! Random graphs over random data, run by a stack and by DuckDB, which must come to the same rows.
//!
//! `compare.py` makes graphs and files from a seed, runs each graph through HTTP into a Delta table, asks DuckDB the
//! same question in SQL that is written from the nodes' definitions (`question.py`), and compares the rows of the
//! files which the Delta log lists, the rows of every node, and that no row is unaccounted for.
//!
//! It runs where `CI` is set, or where `RANDOM_GRAPHS` says how many graphs: `RANDOM_GRAPHS=5000 RANDOM_SEED=7 cargo
//! test -p tests --test duckdb`. Every seed is printed; `RANDOM_ONLY=12` runs one graph of a seed again.
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
//! | -0.0 in what is compared | equal to 0.0 | equal to 0.0 | the zeros are one |
//! | `ltrim` without characters | takes spaces | takes all white space, also U+00A0 | the characters are said |
//! | an empty field of a CSV file | null | null where `nullstr` is empty | no empty texts in CSV |

#[path = "../python/mod.rs"]
mod python;

use shared::roles::Role;
use std::path::Path;
use std::process::{Output, Stdio};
use tests::World;

/// Graphs in CI.
const GRAPHS: &str = "300";
/// Their seed where none is given, so that one commit always meets the same graphs.
const SEED: &str = "2026";
/// Nodes that are made besides those that are always made.
const FEATURES: &str = "unpivot,validate,branch,pivot,sql,lookup,array_agg";

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_graphs_come_to_the_rows_that_duckdb_comes_to() {
    let graphs = setting("RANDOM_GRAPHS").or_else(|| setting("CI").map(|_| GRAPHS.to_owned()));
    let Some(graphs) = graphs else {
        python::say("NOT RUN: random graphs against DuckDB; it runs with CI=true or RANDOM_GRAPHS=300");
        return;
    };
    let Some(tools) = python::Tools::install(&python::DELTA, "random graphs against DuckDB") else { return };
    let world = World::with(|options| options.concurrent_runs = 4).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/duckdb/compare.py");
    let mut command = tools.command("python");
    command.arg("-B").arg(script).args(["--url", &world.stack.url(), "--cases", &graphs, "--features", FEATURES]);
    command.args(["--token", &world.stack.token(Role::Editor, "random").unwrap()]);
    command.arg("--files").arg(world.stack.files_root());
    command.arg("--lake").arg(world.folder().join("data/lake/random"));
    command.args(["--seed", &setting("RANDOM_SEED").unwrap_or_else(|| SEED.to_owned())]);
    if let Some(only) = setting("RANDOM_ONLY") {
        command.args(["--only", &only]);
    }
    let run = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let Output { status, stdout, stderr } = run.await.unwrap().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    python::say(&said);
    assert!(status.success(), "the rows differ, as said above");
}
