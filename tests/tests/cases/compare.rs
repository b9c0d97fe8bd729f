//! Compares what came out with what was to come out; each difference is one line.

use super::case::Expect;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Entries of a difference that are shown.
const SHOWN: usize = 5;

/// What a run left behind.
pub struct Seen {
    pub run: Value,
    pub progress: Value,
    pub errors: Vec<Value>,
    /// By schema name; rows as lists in the order of the fields.
    pub tables: BTreeMap<String, Vec<Vec<Value>>>,
    /// The rejected rows beside the table `out`, without the run that rejected them.
    pub kept: Vec<Vec<Value>>,
    /// The client's node ids by the stored ones, and the edges between stored ids.
    pub names: BTreeMap<String, String>,
    pub edges: Vec<Edge>,
}

/// An edge; the label of one that leaves a branch is its way.
pub struct Edge {
    pub from: String,
    pub to: String,
    pub label: String,
}

/// The five counts of a node: in, out, filtered, rejected, deduplicated.
const COUNTS: [(&str, &str); 5] = [
    ("in", "rowsIn"),
    ("out", "rowsOut"),
    ("filtered", "filtered"),
    ("rejected", "rejected"),
    ("deduplicated", "deduplicated"),
];

/// Node types whose rows are others than those that came in.
const MAKE_ROWS: [&str; 5] = ["join", "aggregate", "pivot", "unpivot", "sql"];

/// All differences.
pub fn differences(expect: &Expect, seen: &Seen) -> Vec<String> {
    let mut faults = Vec::new();
    status(expect, seen, &mut faults);
    if let Some(rows) = &expect.rows {
        let got = seen.tables.get("out").map_or(&[][..], Vec::as_slice);
        bag("the table", rows, got, &mut faults);
        if expect.ordered && !rows.iter().zip(got).all(|(one, other)| same_row(one, other)) {
            faults.push(format!("the table is in the order {}", serde_json::json!(got)));
        }
    }
    for (name, rows) in &expect.tables {
        bag(&format!("the table {name}"), rows, seen.tables.get(name).map_or(&[], Vec::as_slice), &mut faults);
    }
    if let Some(kept) = &expect.kept {
        let named = |value: &Value| match value.as_str().and_then(|id| seen.names.get(id)) {
            Some(name) => json!(name),
            None => value.clone(),
        };
        let found: Vec<Vec<Value>> = seen.kept.iter().map(|row| row.iter().map(named).collect()).collect();
        bag("the kept rows", kept, &found, &mut faults);
    }
    rejected(expect, seen, &mut faults);
    counts(expect, seen, &mut faults);
    if seen.run["status"] == "failed" {
        partial(seen, &mut faults)
    } else {
        accounting(seen, &mut faults)
    }
    let log = seen.progress["log"].to_string();
    faults
        .extend(expect.log.iter().filter(|w| !log.contains(*w)).map(|w| format!("the log does not say {w:?}: {log}")));
    faults
}

fn status(expect: &Expect, seen: &Seen, faults: &mut Vec<String>) {
    let run = &seen.run;
    let status = match (&expect.status, &expect.error) {
        (Some(status), _) => status.as_str(),
        (None, Some(_)) => "failed",
        (None, None) if expect.rejected.is_empty() => "completed",
        (None, None) => "completed_with_errors",
    };
    if run["status"] != status {
        faults.push(format!("the run is {} rather than {status}: {}", run["status"], run["error"]));
    }
    if run["skippedRows"] != expect.skipped {
        faults.push(format!("{} rows are skipped rather than {}", run["skippedRows"], expect.skipped));
    }
    let Some(error) = &expect.error else { return };
    let message = run["error"]["message"].as_str().unwrap_or("");
    if run["error"]["code"] != error.code.as_str() {
        faults.push(format!("the error is {} rather than {}: {message}", run["error"]["code"], error.code));
    }
    for words in error.says.iter().filter(|words| !message.contains(*words)) {
        faults.push(format!("the error does not say {words:?} but {message:?}"));
    }
    let node = run["error"]["nodeId"].as_str().unwrap_or("");
    let node = seen.names.get(node).map_or(node, String::as_str);
    if error.node.as_deref().is_some_and(|wanted| wanted != node) {
        faults.push(format!("the error is at the node {node:?}, not at {:?}", error.node));
    }
}

fn rejected(expect: &Expect, seen: &Seen, faults: &mut Vec<String>) {
    let row = |r: &Value| vec![r["row"].clone(), r["column"].clone(), r["value"].clone(), r["error"].clone()];
    let errors: Vec<Vec<Value>> = seen.errors.iter().map(row).collect();
    let wanted: Vec<Vec<Value>> = expect
        .rejected
        .iter()
        .map(|(row, column, value, error)| {
            vec![Value::from(*row), column.as_str().into(), Value::from(value.clone()), error.as_str().into()]
        })
        .collect();
    bag("the rejected rows", &wanted, &errors, faults);
}

/// Compares two bags of rows.
fn bag(what: &str, wanted: &[Vec<Value>], got: &[Vec<Value>], faults: &mut Vec<String>) {
    let mut extra: Vec<&Vec<Value>> = got.iter().collect();
    let mut missing = Vec::new();
    for row in wanted {
        match extra.iter().position(|other| same_row(row, other)) {
            Some(at) => {
                extra.remove(at);
            }
            None => missing.push(row),
        }
    }
    if missing.is_empty() && extra.is_empty() {
        return;
    }
    let some = |rows: &[&Vec<Value>]| {
        let texts: Vec<_> = rows.iter().take(SHOWN).map(|row| Value::from(row.to_vec()).to_string()).collect();
        let more = if rows.len() > SHOWN { format!(" and {} more", rows.len() - SHOWN) } else { String::new() };
        if rows.is_empty() { "nothing".to_owned() } else { texts.join(" ") + &more }
    };
    faults.push(format!("{what}: missing {}; unexpected {}", some(&missing), some(&extra)));
}

fn same_row(one: &[Value], other: &[Value]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
}

/// Equal, where a number is what it is worth: 3 is 3.0, and -0.0 is not 0.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64() == b.as_f64() && a.as_f64().map(f64::is_sign_negative) == b.as_f64().map(f64::is_sign_negative)
        }
        _ => one == other,
    }
}

fn counts(expect: &Expect, seen: &Seen, faults: &mut Vec<String>) {
    for (name, text) in &expect.counts {
        let node = nodes(seen).find(|(known, _)| known == name).map(|(_, node)| node);
        let Some(node) = node else {
            faults.push(format!("there is no node {name:?} in {}", seen.progress["nodes"]));
            continue;
        };
        let wanted = match parse_counts(text) {
            Ok(wanted) => wanted,
            Err(why) => {
                faults.push(why);
                continue;
            }
        };
        let got = COUNTS.map(|(_, key)| node[key].as_u64().unwrap_or(u64::MAX));
        if wanted != got {
            faults.push(format!("node {name}: {} rather than {text}", show(got)));
        }
    }
}

fn show(counts: [u64; 5]) -> String {
    let named = COUNTS.iter().zip(counts).filter(|((name, _), n)| *n > 0 || matches!(*name, "in" | "out"));
    named.map(|((name, _), n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

fn parse_counts(text: &str) -> Result<[u64; 5], String> {
    let mut counts = [0; 5];
    for part in text.split(',') {
        let wrong = || format!("{part:?} is no count such as 3 in");
        let (number, word) = part.trim().split_once(' ').ok_or_else(wrong)?;
        let at = COUNTS.iter().position(|(name, _)| *name == word.trim()).ok_or_else(wrong)?;
        counts[at] = number.parse().map_err(|_| wrong())?;
    }
    Ok(counts)
}

/// The nodes of the progress by the client's names.
fn nodes(seen: &Seen) -> impl Iterator<Item = (&str, &Value)> {
    seen.progress["nodes"].as_array().into_iter().flatten().map(|node| {
        let id = node["id"].as_str().unwrap_or("");
        let own = node["name"].as_str().unwrap_or("");
        (seen.names.get(id).map_or(own, String::as_str), node)
    })
}

fn number(node: &Value, key: &str) -> u64 {
    node[key].as_u64().unwrap_or(0)
}

/// What holds for a run that failed: it has written nothing, and no node has given more rows than it took.
fn partial(seen: &Seen, faults: &mut Vec<String>) {
    for (name, node) in nodes(seen) {
        let [rows_in, out, filtered, refused, deduplicated] = COUNTS.map(|(_, key)| number(node, key));
        let kind = node["nodeType"].as_str().unwrap_or("");
        if !MAKE_ROWS.contains(&kind) && rows_in < out + filtered + refused + deduplicated {
            faults.push(format!("node {name} of the failed run gave more rows than it took: {node}"));
        }
    }
    if number(&seen.run, "rowsOut") != 0 {
        faults.push(format!("the failed run says that it wrote {} rows", seen.run["rowsOut"]));
    }
}

/// Every node takes what the nodes before it give. A branch counts the rows of all its ways together: what went one way is
/// what any node at its end took, and all ways are all its rows.
fn between(seen: &Seen, faults: &mut Vec<String>) {
    let mut ways: BTreeMap<(&str, &str), Option<u64>> = BTreeMap::new();
    let is_branch = |id: &str| nodes(seen).any(|(_, node)| node["id"] == id && node["nodeType"] == "branch");
    let out = |id: &str| nodes(seen).find(|(_, node)| node["id"] == id).map_or(0, |(_, node)| number(node, "rowsOut"));
    for edge in seen.edges.iter().filter(|edge| is_branch(&edge.from)) {
        ways.insert((edge.from.as_str(), edge.label.as_str()), None);
    }
    for (name, node) in nodes(seen).filter(|(_, node)| node["nodeType"] != "source") {
        let inputs = || seen.edges.iter().filter(|edge| node["id"] == edge.to.as_str());
        let taken = number(node, "rowsIn");
        let known: u64 = inputs().filter(|edge| !is_branch(&edge.from)).map(|edge| out(&edge.from)).sum();
        let divided: Vec<&Edge> = inputs().filter(|edge| is_branch(&edge.from)).collect();
        let fits = match divided.as_slice() {
            [] => taken == known,
            [one] => {
                let way = ways.entry((one.from.as_str(), one.label.as_str())).or_default();
                let went = taken.checked_sub(known);
                went.is_some() && *way.get_or_insert(went.unwrap_or_default()) == went.unwrap_or_default()
            }
            several => (known..=known + several.iter().map(|edge| out(&edge.from)).sum::<u64>()).contains(&taken),
        };
        if !fits {
            faults.push(format!(
                "node {name} took {taken} rows, and those before it gave others: {}",
                seen.progress["nodes"]
            ));
        }
    }
    for (name, node) in nodes(seen).filter(|(_, node)| node["nodeType"] == "branch") {
        let own = ways.iter().filter(|((from, _), _)| node["id"] == *from);
        let sum: Option<u64> = own.map(|(_, went)| *went).sum();
        if sum.is_some_and(|sum| sum != number(node, "rowsOut")) {
            faults.push(format!("the ways of the branch {name} took {sum:?} rows of {}", node["rowsOut"]));
        }
    }
}

/// What holds for every run that succeeds: no row is unaccounted for.
fn accounting(seen: &Seen, faults: &mut Vec<String>) {
    let (mut read, mut written, mut rejected) = (0, 0, 0);
    for (name, node) in nodes(seen) {
        let [rows_in, out, filtered, refused, deduplicated] = COUNTS.map(|(_, key)| number(node, key));
        let kind = node["nodeType"].as_str().unwrap_or("");
        if !MAKE_ROWS.contains(&kind) && rows_in != out + filtered + refused + deduplicated {
            faults.push(format!("the rows of node {name} do not add up: {node}"));
        }
        read += if kind == "source" { rows_in } else { 0 };
        written += if kind == "target" { out } else { 0 };
        rejected += refused;
    }
    between(seen, faults);
    let run = &seen.run;
    let whole = [("rowsIn", read), ("rowsOut", written), ("failedRows", rejected)];
    for (key, sum) in whole.into_iter().filter(|(key, sum)| run[*key] != *sum) {
        faults.push(format!("the run's {key} is {}, but that of its nodes {sum}", run[key]));
    }
    if seen.errors.len() as u64 != rejected {
        faults.push(format!("{} rejected rows are listed, but {rejected} were counted", seen.errors.len()));
    }
}
