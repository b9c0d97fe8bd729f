//! The start of a process: logs, the environment, and what is made of it once.

use crate::config::{Config, SecretsConfig};
use crate::context::Services;
use crate::{aws, clock::Clock, cursor::Cursors, queue::Queue, secrets::Sealer, store::Store, token::Verifier};
use lambda_http::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Runs `main` to its end on one thread, which is all that a small function has.
pub fn start<F: Future<Output = Result<(), Error>>>(main: F) -> ExitCode {
    start_with(tokio::runtime::Builder::new_current_thread(), main)
}

/// Bytes of stack of a thread, as many as the first one has: deep expressions are executed on it.
const STACK: usize = 8 << 20;

/// A runtime with a thread a core.
pub fn threads() -> tokio::runtime::Builder {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.thread_stack_size(STACK);
    threads
}

/// Runs `main` to its end, with logs as JSON lines on standard output, as CloudWatch wants them.
pub fn start_with<F: Future<Output = Result<(), Error>>>(mut threads: tokio::runtime::Builder, main: F) -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(crate::config::log_filter("info"))
        .with_current_span(false)
        .with_span_list(false)
        .init();
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the async runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(main) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.to_string(), "the function does not start");
            ExitCode::FAILURE
        }
    }
}

/// What the environment describes. A call to the table, a queue or the key service ends after `longest_call` with all its
/// attempts, where that is given.
///
/// # Errors
/// Where the environment lacks something that all need.
pub async fn services(longest_call: Option<Duration>) -> Result<Arc<Services>, Error> {
    let config = Config::from_env()?;
    let sdk = aws::config().await?;
    Ok(Arc::new(Services {
        clock: clock()?,
        store: Store::new(aws_sdk_dynamodb::Client::new(&sdk), &config.table, config.shards)
            .with_lease(config.lease_seconds)
            .within(longest_call),
        queue: Queue::new(aws_sdk_sqs::Client::new(&sdk), &config.runs_queue_url, &config.ticks_queue_url)
            .within(longest_call),
        verifier: Verifier::from_config(&config.tokens)?,
        cursors: Cursors::new(config.cursor_key.as_bytes()),
        sealer: match &config.secrets {
            SecretsConfig::Kms(key) => Sealer::kms(aws_sdk_kms::Client::new(&sdk), key).within(longest_call),
            SecretsConfig::File(path) => Sealer::file(path)?,
            SecretsConfig::None => Sealer::none(),
        },
        workers: config.scaling.clone().map(|scaling| aws::Workers::new(&sdk, scaling)),
        config,
    }))
}

#[cfg(not(debug_assertions))]
fn clock() -> Result<Clock, Error> {
    Ok(Clock::default())
}

#[cfg(debug_assertions)]
fn clock() -> Result<Clock, Error> {
    Ok(Clock::ahead(chrono::Duration::seconds(crate::config::clock_offset_seconds()?)))
}

/// A function that is not called over HTTP but by an event.
#[derive(Clone)]
pub struct Trigger {
    /// The name of the folder.
    pub name: &'static str,
    handler: TriggerHandler,
}

type TriggerHandler =
    Arc<dyn Fn(Arc<Services>, Value) -> futures::future::BoxFuture<'static, crate::Result<Value>> + Send + Sync>;

impl Trigger {
    /// A function with its handler, which gets the event that it can read, and whose answer is written as JSON.
    pub fn new<I, O, F, A>(name: &'static str, handle: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Arc<Services>, I) -> A + Send + Sync + 'static,
        A: Future<Output = crate::Result<O>> + Send + 'static,
    {
        let handle = Arc::new(handle);
        let handler: TriggerHandler = Arc::new(move |services, event| {
            let handle = Arc::clone(&handle);
            Box::pin(async move {
                let event: I = serde_json::from_value(event).map_err(|error| {
                    crate::Error::internal(format!("{name} is called with an event that it does not know: {error}"))
                })?;
                let answer = handle(services, event).await?;
                serde_json::to_value(answer).map_err(crate::Error::internal)
            })
        });
        Self { name, handler }
    }

    /// Handles one event.
    ///
    /// # Errors
    /// What the handler answers; the caller delivers the event again.
    pub async fn call(&self, services: &Arc<Services>, event: Value) -> crate::Result<Value> {
        (self.handler)(Arc::clone(services), event).await
    }

    /// Serves a trigger until the runtime ends the process.
    pub fn main(trigger: fn() -> Self) -> ExitCode {
        start(async move {
            let services = services(None).await?;
            let trigger = trigger();
            lambda_runtime::run(lambda_runtime::service_fn(move |event: lambda_runtime::LambdaEvent<Value>| {
                let (trigger, services) = (trigger.clone(), Arc::clone(&services));
                async move { trigger.call(&services, event.payload).await.map_err(Error::from) }
            }))
            .await
        })
    }
}
