//! `flowgate serve`: the stack until Ctrl-C.

use crate::arguments::Serve;
use crate::console::{program, say, warn};
use crate::stack::{Options, Stack};
use shared::error::BoxError;
use shared::roles::Role;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use worker::engine::job::Lake;

/// The tenant of the token that is printed.
const TENANT: &str = "default";

/// Runs the stack until it is asked to stop.
///
/// # Errors
/// Where it does not start.
pub async fn run(arguments: Serve) -> Result<(), BoxError> {
    let started = Instant::now();
    let stop = asked_to_stop()?;
    let listen = arguments.listen;
    let stack = Stack::start(Options {
        listen,
        files_root: arguments.files_root,
        // What the URL needs beside it is in AWS's own variables, which its client reads by itself.
        lake: arguments.lake.map(|url| Lake { url, options: HashMap::new() }),
        allowed_hosts: arguments.allow_host,
        memory_bytes: arguments.memory as usize * 1024 * 1024,
        concurrent_runs: arguments.concurrent_runs as usize,
        worker: arguments.concurrent_runs > 0,
        lease_seconds: arguments.lease,
        grace: Duration::from_secs(arguments.grace),
        ..Options::new(arguments.data.data_dir)
    })
    .await?;
    if !listen.ip().is_loopback() {
        warn(format_args!(
            "warning: {listen} can be reached from other machines, over plain HTTP; whoever sees a token can use it"
        ));
    }
    greet(&stack, started.elapsed())?;
    if arguments.concurrent_runs == 0 {
        show_workers(&stack);
    }
    stop.await;
    say("\nStopping: no new requests are taken, running runs may finish. Ctrl-C again ends at once.");
    // Where nobody can listen for it, the shutdown goes on.
    if let Ok(again) = asked_to_stop() {
        tokio::spawn(async {
            again.await;
            std::process::exit(130);
        });
    }
    stack.shutdown().await;
    Ok(())
}

/// Says where everything is, and what to type next.
fn greet(stack: &Stack, took: Duration) -> Result<(), BoxError> {
    let (url, token) = (stack.url(), stack.token(Role::Editor, TENANT)?);
    say(format_args!(
        "\
Flowgate is ready after {} ms.

  API      {url}/api/v1
  data     {}
  files    {} (what local_fs connectors may read)
  tables   {}
  token    editor of tenant {TENANT}, for 12 hours; `{} token --help` says how to get others

Type this next, in another terminal:

  export TOKEN={token}
  curl -s {url}/api/v1/pipelines -H \"Authorization: Bearer $TOKEN\"

Ctrl-C stops it.",
        took.as_millis(),
        stack.folder().root().display(),
        stack.files_root().display(),
        tables(stack),
        program(),
    ));
    Ok(())
}

/// Says how a worker is started that is a process of its own.
fn show_workers(stack: &Stack) {
    say(
        "\nRuns wait for workers, each a process with a scratch folder of its own (cargo run -p worker --bin worker):\n",
    );
    // A bucket's key is not ours to show, and stands in the environment already.
    let own = |name: &str| !stack.lake().starts_with("s3:") || !name.starts_with("AWS_") || name.contains("_URL_");
    for (name, value) in stack.worker_environment().iter().filter(|(name, _)| own(name)) {
        say(format_args!("  export {name}='{value}'"));
    }
    say("  export FLOWGATE_SCRATCH=\"$(mktemp -d)\"");
}

/// Where the tables lie, as a path where that is a folder.
fn tables(stack: &Stack) -> String {
    let folder = url::Url::parse(stack.lake()).ok().and_then(|url| url.to_file_path().ok());
    folder.map_or_else(|| stack.lake().to_owned(), |path| path.display().to_string())
}

/// Listens from now on for Ctrl-C and SIGTERM, and waits for one of them when it is awaited.
///
/// # Errors
/// Where the system does not let it listen.
pub(crate) fn asked_to_stop() -> Result<impl Future<Output = ()>, BoxError> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
