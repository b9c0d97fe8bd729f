//! What the demo shows at its end.

use super::api::Api;
use super::definitions::schema;
use super::{Story, text};
use crate::console::{count, program, say, table};
use crate::data_folder::DataFolder;
use serde_json::Value;
use shared::error::BoxError;

/// Rows of the result and rejected rows that are shown.
const SHOWN: usize = 8;

/// The run, its rows by node, the first rejected rows and the first rows of the result.
///
/// # Errors
/// Where the API does not answer.
pub async fn show(api: &Api, story: &Story, path: &str) -> Result<(), BoxError> {
    let run = &story.run;
    say(format_args!(
        "The run is {} after {} ms: {} rows in, {} out, {} rejected.\n",
        text(&run["status"]),
        run["durationMs"],
        number(&run["rowsIn"]),
        number(&run["rowsOut"]),
        number(&run["failedRows"]),
    ));
    nodes(&story.progress);
    rejected(api, path).await?;
    result(api, text(&story.schema["id"])).await
}

fn nodes(progress: &Value) {
    let rows: Vec<Vec<String>> = progress["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| {
            let mut row = vec![text(&node["name"]).to_owned(), text(&node["nodeType"]).to_owned()];
            row.extend(["rowsIn", "rowsOut", "filtered", "rejected"].map(|field| number(&node[field])));
            row
        })
        .collect();
    say(table(&["node", "type", "in", "out", "filtered", "rejected"], &rows));
}

async fn rejected(api: &Api, path: &str) -> Result<(), BoxError> {
    let page = api.get(&format!("{path}/errors?limit={SHOWN}&includeTotal=true")).await?;
    let rows: Vec<Vec<String>> = page["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| {
            let row = error["row"].as_u64().map(|row| row.to_string()).unwrap_or_default();
            vec![
                row,
                text(&error["column"]).to_owned(),
                text(&error["value"]).to_owned(),
                text(&error["error"]).to_owned(),
            ]
        })
        .collect();
    let total = page["pagination"]["total"].as_u64().unwrap_or(0);
    say(format_args!(
        "\nRejected rows, {} of {}: flights that were cancelled or diverted.\n",
        rows.len(),
        count(total)
    ));
    say(table(&["row", "column", "value", "error"], &rows));
    Ok(())
}

async fn result(api: &Api, id: &str) -> Result<(), BoxError> {
    let page = api.get(&format!("schemas/{id}/data?limit={SHOWN}&includeTotal=true")).await?;
    let definition = schema();
    let columns: Vec<&str> =
        definition["fields"].as_array().into_iter().flatten().map(|field| text(&field["name"])).collect();
    let rows: Vec<Vec<String>> = page["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| columns.iter().map(|column| plain(&row[*column])).collect())
        .collect();
    let total = page["pagination"]["total"].as_u64().unwrap_or(0);
    say(format_args!("\nThe table airline_delays, {} of {} rows.\n", rows.len(), count(total)));
    say(table(&columns, &rows));
    Ok(())
}

/// Where the table lies, and what to try next.
pub fn farewell(story: &Story, folder: &DataFolder, tenant: &str, is_kept: bool) {
    let schema = text(&story.schema["id"]);
    let lake = folder.lake().join(tenant).join(schema);
    let program = program();
    if !is_kept {
        say(format_args!("\nThe Delta table lay in {}, a temporary folder that is removed now.", lake.display()));
        say("To keep it, and to go on with it:\n");
        say(format_args!("  {program} demo --data-dir flowgate-data"));
        return;
    }
    let data = folder.root().display();
    say(format_args!("\nThe Delta table lies in {} and stays there.", lake.display()));
    say("To go on, start the stack on it, and ask it in another terminal:\n");
    say(format_args!(
        "  {program} serve --data-dir {data}\n
  export TOKEN=$({program} token --data-dir {data})
  curl -s http://127.0.0.1:3000/api/v1/pipelines/{pipeline}/runs -H \"Authorization: Bearer $TOKEN\"
  curl -s http://127.0.0.1:3000/api/v1/pipelines/{pipeline}/runs/{run}/errors -H \"Authorization: Bearer $TOKEN\" -H 'Accept: text/csv'
  curl -s 'http://127.0.0.1:3000/api/v1/schemas/{schema}/data?limit=5' -H \"Authorization: Bearer $TOKEN\"
  curl -s -X POST http://127.0.0.1:3000/api/v1/connectors/{connector}/test -H \"Authorization: Bearer $TOKEN\"
  duckdb -c \"SELECT * FROM delta_scan('{table}') LIMIT 5\"",
        pipeline = text(&story.pipeline["id"]),
        run = text(&story.run["id"]),
        connector = text(&story.connector["id"]),
        table = lake.display(),
    ));
}

fn number(value: &Value) -> String {
    value.as_u64().map(count).unwrap_or_default()
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
