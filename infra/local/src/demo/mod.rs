//! `flowgate demo`: a real pipeline over real flights, from an HTTP call to rows in a table, without a network.

mod api;
mod definitions;
mod report;

use crate::arguments::Demo;
use crate::console::say;
use crate::serve::asked_to_stop;
use crate::stack::{Options, Stack};
use api::Api;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use shared::error::BoxError;
use shared::roles::Role;
use std::path::Path;
use std::time::{Duration, Instant};

/// The tenant of the demo.
const TENANT: &str = "default";

/// How long the run may take; it is done in a second or two.
const LONGEST_RUN: Duration = Duration::from_secs(180);

/// How long a run may go on after Ctrl-C; nobody will look at what it writes.
const GRACE: Duration = Duration::from_secs(1);

/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(50);

/// The files of the demo by their places below the data folder; they come with the program.
const FILES: [(&str, &[u8]); 4] = [
    ("demo/flights/flights-2013-01.csv.gz", include_bytes!("../../data/flights/flights-2013-01.csv.gz")),
    ("demo/flights/airlines.csv", include_bytes!("../../data/flights/airlines.csv")),
    ("demo/flights/airports.csv", include_bytes!("../../data/flights/airports.csv")),
    ("demo/README.md", include_bytes!("../../data/flights/README.md")),
];

/// What the demo made and what came of it.
struct Story {
    connector: Value,
    schema: Value,
    pipeline: Value,
    run: Value,
    progress: Value,
}

/// Runs the demo in the given folder, or in a temporary one.
///
/// # Errors
/// Where the stack does not start, or a step is not answered as it should be.
pub async fn run(arguments: Demo) -> Result<(), BoxError> {
    // Whoever ends it early should not find its folder in /tmp.
    let stop = asked_to_stop()?;
    let temporary = match &arguments.data_dir {
        None => Some(tempfile::Builder::new().prefix("flowgate-demo-").tempdir()?),
        Some(_) => None,
    };
    let folder = match (&arguments.data_dir, &temporary) {
        (Some(given), _) => given.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err("there is no folder to work in".into()),
    };
    let started = Instant::now();
    let options = Options { scheduled: false, grace: GRACE, ..Options::new(&folder) };
    let stack = Stack::start(options).await?;
    say(format_args!("Flowgate is ready after {} ms at {}.\n", started.elapsed().as_millis(), stack.url()));
    let told = tokio::select! {
        told = tell(&stack) => told,
        () = stop => Err("the demo was stopped before its end".into()),
    };
    let result = told.map(|story| report::farewell(&story, stack.folder(), TENANT, temporary.is_none()));
    stack.shutdown().await;
    result
}

/// Makes everything, runs it, and shows what came of it.
async fn tell(stack: &Stack) -> Result<Story, BoxError> {
    write_files(stack.folder().root())?;
    let api = Api::new(&stack.url(), &stack.token(Role::Editor, TENANT)?)?;

    let connector = api.ensure("connectors", definitions::connector()).await?;
    say(format_args!("connector  {}  {}", text(&connector["id"]), text(&connector["name"])));
    let looked = api.post(&format!("connectors/{}/test", text(&connector["id"])), &json!({})).await?;
    if looked["ok"] != json!(true) {
        return Err(format!("the connector cannot read its files: {}", text(&looked["detail"])).into());
    }
    say(format_args!("           it can be read: {}", text(&looked["detail"])));
    let schema = api.ensure("schemas", definitions::schema()).await?;
    say(format_args!("schema     {}  {}", text(&schema["id"]), text(&schema["name"])));
    let definition = definitions::pipeline(text(&connector["id"]), text(&schema["id"]));
    let pipeline = api.ensure("pipelines", definition).await?;
    say(format_args!("pipeline   {}  {}", text(&pipeline["id"]), text(&pipeline["name"])));
    say(format_args!("           {}", definitions::PICTURE));

    let run = api.post(&format!("pipelines/{}/run", text(&pipeline["id"])), &json!({})).await?;
    say(format_args!("run        {}  {}\n", text(&run["id"]), text(&run["status"])));
    let path = format!("pipelines/{}/runs/{}", text(&pipeline["id"]), text(&run["id"]));
    let progress = watch(&api, &path).await?;
    let run = api.get(&path).await?;
    let story = Story { connector, schema, pipeline, run, progress };
    report::show(&api, &story, &path).await?;
    Ok(story)
}

/// Puts the files of the demo where `local_fs` can read them.
fn write_files(root: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(root.join(definitions::FOLDER))?;
    FILES.iter().try_for_each(|(name, bytes)| std::fs::write(root.join(name), bytes))
}

/// Shows a bar while the run runs; answers the last progress.
async fn watch(api: &Api, path: &str) -> Result<Value, BoxError> {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len} rows  {elapsed}  {msg}")?;
    bar.set_style(style);
    let deadline = Instant::now() + LONGEST_RUN;
    loop {
        let progress = api.get(&format!("{path}/progress")).await?;
        if let Some(total) = progress["totalRows"].as_u64() {
            bar.set_length(total);
        }
        bar.set_position(progress["processedRows"].as_u64().unwrap_or(0));
        let stage = progress["log"].as_array().and_then(|log| log.last()).map(|line| text(&line["stage"]).to_owned());
        bar.set_message(stage.unwrap_or_default());
        match text(&progress["status"]) {
            "pending" | "running" if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            "completed" | "completed_with_errors" => {
                bar.finish_and_clear();
                return Ok(progress);
            }
            status => {
                bar.abandon();
                let run = api.get(path).await?;
                return Err(format!("the run is {status}: {}", text(&run["error"]["message"])).into());
            }
        }
    }
}

/// A text in an answer; empty where it is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
