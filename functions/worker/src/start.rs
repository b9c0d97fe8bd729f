//! The start of a worker process.

use crate::engine::job::{Lake, Settings};
use crate::life::Worker;
use crate::stretch::Pace;
use shared::config::{SecretsConfig, WorkerConfig};
use shared::context::Services;
use shared::protection::Protection;
use shared::secrets::Opener;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long runs may go on after SIGTERM: the task definition gives 120 s, of which the last are kept for the end.
pub const GRACE: Duration = Duration::from_secs(110);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A worker as its environment describes it. Its scratch folder is emptied.
///
/// # Errors
/// Where the environment lacks something, or the scratch folder cannot be made.
pub async fn from_env(services: Arc<Services>) -> Result<(Arc<Worker>, WorkerConfig), BoxError> {
    let config = WorkerConfig::from_env()?;
    let sdk = shared::aws::config().await?;
    let opener = match &services.config.secrets {
        SecretsConfig::Kms(key) => Opener::kms(aws_sdk_kms::Client::new(&sdk), key),
        SecretsConfig::File(path) => Opener::file(path)?,
        SecretsConfig::None => Opener::none(),
    };
    let settings = Settings {
        files_root: config.files_root.clone(),
        http_allowed_hosts: config.http_allowed_hosts.clone(),
        lake: Lake { url: config.lake_url.trim_end_matches('/').to_owned(), options: HashMap::new() },
        memory_bytes: config.memory_bytes,
        scratch: config.scratch.clone(),
        cores: std::thread::available_parallelism().map_or(2, usize::from),
    };
    let protection = Protection::new(config.ecs_agent_uri.as_deref());
    let worker = worker(services, opener, settings, protection)?;
    Ok((worker, config))
}

/// A worker with these parts. Its scratch folder is emptied.
///
/// # Errors
/// Where the scratch folder cannot be made.
pub fn worker(
    services: Arc<Services>,
    opener: Opener,
    settings: Settings,
    protection: Protection,
) -> Result<Arc<Worker>, BoxError> {
    match std::fs::remove_dir_all(&settings.scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::create_dir_all(&settings.scratch)?;
    let name = format!("worker-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
    let (shutdown, out_of_grace) = (CancellationToken::new(), CancellationToken::new());
    let pace = Pace::default();
    Ok(Arc::new(Worker { services, opener, settings, name, shutdown, out_of_grace, protection, pace }))
}

/// Runs `main` on all cores, with logs as JSON lines.
pub fn start<F: Future<Output = Result<(), BoxError>>>(main: F) -> ExitCode {
    // Both of rustls' providers are linked in, so one is chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    shared::runtime::start_with(shared::runtime::threads(), main)
}

/// Polls the queue until it is asked to stop by SIGTERM or Ctrl-C.
///
/// # Errors
/// Where the worker does not start.
pub async fn poll() -> Result<(), BoxError> {
    let services = shared::runtime::services(None).await?;
    let (worker, config) = from_env(services).await?;
    let shutdown = worker.shutdown.clone();
    tokio::spawn(async move {
        let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(term) => term,
            Err(error) => return tracing::error!(%error, "SIGTERM cannot be heard"),
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("asked to stop: no new runs are taken");
        shutdown.cancel();
    });
    worker.poll(config.concurrent_runs, GRACE).await;
    Ok(())
}
