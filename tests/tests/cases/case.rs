//! The form of a `case.yaml`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One case. It has a `pipeline` or `steps`, and `expect` or `runs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// One sentence: what it shows.
    #[allow(dead_code, reason = "for readers")]
    pub about: String,
    /// Input files by name.
    #[serde(default)]
    pub files: BTreeMap<String, File>,
    /// The fields of each schema; `out` is the pipeline's. A field is `type`, `type(length)` or `decimal(precision,scale)`,
    /// then any of `primary`, `unique` and `required`; or an object as the API takes it, without its name.
    pub schemas: Map<String, Value>,
    /// Connectors by name; `in`, the pipeline's, is the case's folder where it is left out. A `config.path` is one of
    /// that folder.
    #[serde(default)]
    pub connectors: BTreeMap<String, Connector>,
    /// The body of POST /pipelines. `connectorId` and `schemaId` are names, here and in nodes; `in` and `out` where left out.
    #[serde(default)]
    pub pipeline: Map<String, Value>,
    /// In the place of nodes and edges: nodes in a chain, each an object of its type and config; a source before and a
    /// target behind them are added where they are not there.
    pub steps: Option<Vec<Map<String, Value>>>,
    /// The only run's parameters.
    pub parameters: Option<Value>,
    /// What comes out of the only run.
    pub expect: Option<Expect>,
    /// Runs in a row.
    pub runs: Option<Vec<Step>>,
}

/// A connector: `type` is `local_fs` where it is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    pub r#type: Option<String>,
    pub config: Map<String, Value>,
}

/// One run of several.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Files that are written before it, over those that are there.
    #[serde(default)]
    pub files: BTreeMap<String, File>,
    /// Files that are deleted before it.
    #[serde(default)]
    pub delete: Vec<String>,
    /// Schemas that change before it.
    #[serde(default)]
    pub schemas: Map<String, Value>,
    /// Top-level fields of the pipeline that are put before it.
    #[serde(default)]
    pub pipeline: Map<String, Value>,
    pub parameters: Option<Value>,
    /// Whether it retries the run before.
    #[serde(default)]
    pub retry: bool,
    pub expect: Expect,
}

/// What comes out of a run. What is left out of it must not be there: rejected rows, an error, skipped rows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Pointers of the faults for which the pipeline is not saved; nothing runs then.
    pub refused: Option<Vec<String>>,
    /// The final status; left out, `failed` where there is an error, `completed_with_errors` where there are rejected
    /// rows, else `completed`.
    pub status: Option<String>,
    /// All rows of the table `out` after the run, in any order; the values in the order of the schema's fields.
    pub rows: Option<Vec<Vec<Value>>>,
    /// Whether the rows of `out` must come in this order.
    #[serde(default)]
    pub ordered: bool,
    /// The same of other schemas' tables.
    #[serde(default)]
    pub tables: BTreeMap<String, Vec<Vec<Value>>>,
    /// Each rejected row as `[row, column, value, error]`, in any order.
    #[serde(default)]
    pub rejected: Vec<(Option<u64>, String, Option<String>, String)>,
    /// The rows that are kept beside the table `out` with `onError: deadLetter`, in any order: `[node, row, file, column,
    /// value, reason, data]`.
    pub kept: Option<Vec<Vec<Value>>>,
    /// Counts by node id, such as `3 in, 2 out, 1 filtered`; those that are not named are 0.
    #[serde(default)]
    pub counts: BTreeMap<String, String>,
    /// The run's `skippedRows`.
    #[serde(default)]
    pub skipped: u64,
    /// The error of a failed run.
    pub error: Option<Failure>,
    /// Words that must be in the run's log.
    #[serde(default)]
    pub log: Vec<String>,
}

/// Why a run failed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub code: String,
    /// Words that must be in the message.
    #[serde(default)]
    pub says: Vec<String>,
    /// The node at which it failed.
    pub node: Option<String>,
}

/// The content of a file: text, or text in another form.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum File {
    Text(String),
    Packed(Packed),
}

/// A text that is not stored as UTF-8.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packed {
    Gzip(String),
    Zstd(String),
    Latin1(String),
    /// With a byte order mark.
    Bom(String),
    /// A text so many times, after a head.
    Many {
        head: String,
        line: String,
        times: usize,
    },
}

impl Case {
    /// The runs, whichever way they are written.
    pub fn runs(&mut self) -> Result<Vec<Step>, String> {
        match (self.expect.take(), self.runs.take()) {
            (Some(expect), None) => Ok(vec![Step {
                files: BTreeMap::new(),
                delete: Vec::new(),
                schemas: Map::new(),
                pipeline: Map::new(),
                parameters: self.parameters.take(),
                retry: false,
                expect,
            }]),
            (None, Some(runs)) if self.parameters.is_none() => Ok(runs),
            _ => Err("a case has either expect (and parameters) or runs".to_owned()),
        }
    }

    /// The nodes and edges that `steps` stand for.
    pub fn graph(&self) -> Result<Option<(Value, Value)>, String> {
        let Some(steps) = &self.steps else { return Ok(None) };
        let mut nodes: Vec<(String, Value)> = Vec::new();
        for step in steps {
            let (Some((kind, config)), 1) = (step.iter().next(), step.len()) else {
                return Err(format!("a step is one node's type with its config: {step:?}"));
            };
            nodes.push((kind.clone(), config.clone()));
        }
        if nodes.first().is_none_or(|(kind, _)| kind != "source") {
            nodes.insert(0, ("source".to_owned(), json!({})));
        }
        if nodes.last().is_none_or(|(kind, _)| kind != "target") {
            nodes.push(("target".to_owned(), json!({})));
        }
        let mut ids: Vec<String> = Vec::new();
        for (kind, _) in &nodes {
            let again = ids.iter().filter(|id| id.trim_end_matches(char::is_numeric) == kind).count();
            ids.push(if again == 0 { kind.clone() } else { format!("{kind}{}", again + 1) });
        }
        let edges = ids.windows(2).map(|pair| json!({"source": pair[0], "target": pair[1]})).collect();
        let nodes = ids
            .iter()
            .zip(&nodes)
            .map(|(id, (kind, config))| {
                let config = if config.is_null() { json!({}) } else { config.clone() };
                json!({"id": id, "nodeType": kind, "config": config})
            })
            .collect();
        Ok(Some((nodes, edges)))
    }
}

/// The fields of a schema, as the API takes them.
pub fn fields(short: &Value) -> Result<Value, String> {
    let short = short.as_object().ok_or_else(|| format!("a schema is an object of fields: {short}"))?;
    short.iter().map(|(name, field)| self::field(name, field)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn field(name: &str, short: &Value) -> Result<Value, String> {
    let mut field = Map::new();
    field.insert("name".to_owned(), json!(name));
    if let Value::Object(long) = short {
        field.extend(long.clone());
        return Ok(Value::Object(field));
    }
    let text = short.as_str().ok_or_else(|| format!("a field is a text or an object: {short}"))?;
    let mut words = text.split_whitespace();
    let data_type = words.next().unwrap_or_default();
    let (data_type, numbers) = match data_type.strip_suffix(')').and_then(|t| t.split_once('(')) {
        Some((data_type, numbers)) => (data_type, numbers.split(',').collect::<Vec<_>>()),
        None => (data_type, Vec::new()),
    };
    field.insert("dataType".to_owned(), json!(data_type));
    let names: &[&str] = if data_type == "decimal" { &["precision", "scale"] } else { &["length"] };
    for (name, number) in names.iter().zip(&numbers) {
        let number: u64 = number.trim().parse().map_err(|_| format!("{text:?}: {number:?} is no number"))?;
        field.insert((*name).to_owned(), json!(number));
    }
    for word in words {
        let (key, value) = match word {
            "primary" => ("isPrimaryKey", true),
            "unique" => ("isUnique", true),
            "required" => ("isNullable", false),
            other => return Err(format!("{text:?}: a field is primary, unique or required, not {other:?}")),
        };
        field.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(field))
}
