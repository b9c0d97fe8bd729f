//! The running stack: starts everything in order, and stops it in the opposite one.

mod error;

pub use error::StackError;

use crate::data_folder::{DataFolder, DataFolderError, Lock};
use crate::dynamodb::DynamoDb;
use crate::functions::Functions;
use crate::gateway::{self, Gateway};
use crate::sqs::Sqs;
use crate::template::Template;
use crate::triggers::Triggers;
use chrono::TimeDelta;
use error::part;
use serde_json::Value;
use shared::aws::local_config;
use shared::clock::Clock;
use shared::config::{Config, DEFAULT_LEASE_SECONDS, SecretsConfig, TokenConfig};
use shared::context::Services;
use shared::error::BoxError;
use shared::hosts::AllowedHost;
use shared::protection::Protection;
use shared::roles::Role;
use shared::{cursor::Cursors, queue::Queue, secrets::Sealer, store::Store, token::Verifier};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::Worker;
use worker::engine::job::{Lake, Settings};

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is started; the `template.yaml` that this was built with where it is left out.
    pub template: Option<Template>,
    /// Where the API listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether connectors of the type `local_fs` may be made.
    pub local_fs: bool,
    /// What `local_fs` may read; the data folder without its `.state` where it is left out.
    pub files_root: Option<PathBuf>,
    /// Where the tables lie; the data folder's `lake` where it is left out.
    pub lake: Option<Lake>,
    /// Hosts that connectors may reach by HTTP although their addresses are private, such as this machine.
    pub allowed_hosts: Vec<AllowedHost>,
    /// What the handlers take for the time. The queue's own times are always the system's.
    pub clock: Clock,
    /// Whether schedules are kept; a test calls [`Stack::tick`] instead.
    pub scheduled: bool,
    /// Whether runs are executed.
    pub worker: bool,
    /// Runs that are executed at once.
    pub concurrent_runs: usize,
    /// How long a worker holds a run without a heartbeat.
    pub lease_seconds: u32,
    /// Bytes for one run's operators, beyond which they spill.
    pub memory_bytes: usize,
    /// How long a shutdown waits for running runs, which are delivered again afterwards.
    pub grace: Duration,
}

impl Options {
    /// The defaults: any free port of this machine, schedules kept, 1 GiB a run.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            template: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: data_dir.into(),
            local_fs: true,
            files_root: None,
            lake: None,
            allowed_hosts: Vec::new(),
            clock: Clock::default(),
            scheduled: true,
            worker: true,
            concurrent_runs: 2,
            lease_seconds: DEFAULT_LEASE_SECONDS,
            memory_bytes: 1 << 30,
            grace: Duration::from_secs(10),
        }
    }
}

/// How long a shutdown waits for what should end at once.
const SHORT: Duration = Duration::from_secs(3);

/// How long a tick may take before it counts as stuck.
const LONGEST_TICK: Duration = Duration::from_secs(60);

/// A running stack. Dropped without [`Stack::shutdown`] it ends as if it were killed.
pub struct Stack {
    address: SocketAddr,
    folder: DataFolder,
    files_root: PathBuf,
    jwt_secret: String,
    functions: Functions,
    services: Arc<Services>,
    ticks_queue: String,
    sqs: Sqs,
    dynamodb: DynamoDb,
    triggers: Triggers,
    trigger_tasks: JoinSet<()>,
    worker: Arc<Worker>,
    worker_tasks: JoinSet<()>,
    gateway_tasks: JoinSet<()>,
    gateway_stop: CancellationToken,
    _lock: Lock,
}

impl Stack {
    /// Starts everything; when it returns, the API answers.
    ///
    /// # Errors
    /// Where the data folder is in use, the address is taken, or a part does not start.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        let template = options.template.clone().map_or_else(Template::embedded, Ok)?;
        let folder = DataFolder::open(&options.data_dir)?;
        let lock = lock(&folder).await?;
        // The address comes first: whoever has it taken wants to know before anything else is written.
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().map_err(part("the gateway"))?;
        let files_root = files_root(options.files_root.as_deref(), &folder)?;

        let dynamodb = DynamoDb::start(&folder.table(), &template.table).await.map_err(part("the table"))?;
        let sqs = start_queues(&template, &folder.queues()).await?;
        let (services, ticks_queue) = services(&options, &template, &folder, &dynamodb, &sqs)?;
        let jwt_secret = folder.jwt_secret()?;

        let worker = start_worker(&options, &folder, &files_root, &services)?;
        let functions = Functions::new(worker::answer::function(Arc::clone(&worker)));
        let client = aws_sdk_sqs::Client::new(&local_config(&sqs.endpoint()));
        let triggers =
            Triggers::new(&template, &functions, Arc::clone(&services), client, |queue| sqs.queue_url(queue))
                .map_err(part("a trigger"))?;
        let gateway = Gateway::new(&template.routes, &functions, Arc::clone(&services)).map_err(part("the gateway"))?;

        let gateway_stop = CancellationToken::new();
        let mut gateway_tasks = JoinSet::new();
        gateway_tasks.spawn(serve(listener, gateway, gateway_stop.clone()));
        let trigger_tasks = triggers.start(options.scheduled);
        let mut worker_tasks = JoinSet::new();
        if options.worker {
            worker_tasks.spawn(Arc::clone(&worker).poll(options.concurrent_runs, options.grace));
        }
        Ok(Self {
            address,
            folder,
            files_root,
            jwt_secret,
            functions,
            services,
            ticks_queue,
            sqs,
            dynamodb,
            triggers,
            trigger_tasks,
            worker,
            worker_tasks,
            gateway_tasks,
            gateway_stop,
            _lock: lock,
        })
    }

    /// `http://host:port`, as this machine reaches it.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where everything is kept.
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// What `local_fs` may read.
    pub fn files_root(&self) -> &Path {
        &self.files_root
    }

    /// What the handlers have: store, queue, clock, configuration.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The queues, to look into.
    pub fn queues(&self) -> &Sqs {
        &self.sqs
    }

    /// The address of the embedded table.
    pub fn table_endpoint(&self) -> String {
        self.dynamodb.endpoint()
    }

    /// What a worker that is a process of its own must find in its environment to take runs of this stack.
    pub fn worker_environment(&self) -> Vec<(&'static str, String)> {
        let (config, settings) = (&self.services.config, &self.worker.settings);
        let hosts: Vec<String> = settings.http_allowed_hosts.iter().map(ToString::to_string).collect();
        vec![
            ("AWS_REGION", "local".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.endpoint()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.endpoint()),
            ("FLOWGATE_TABLE", config.table.clone()),
            ("FLOWGATE_RUNS_QUEUE_URL", config.runs_queue_url.clone()),
            ("FLOWGATE_SECRETS_KEY_FILE", self.folder.secrets_key().display().to_string()),
            ("FLOWGATE_LAKE_URL", self.lake().to_owned()),
            ("FLOWGATE_FILES_ROOT", self.files_root.display().to_string()),
            ("FLOWGATE_LEASE_SECONDS", config.lease_seconds.to_string()),
            ("FLOWGATE_SHARDS", config.shards.to_string()),
            ("FLOWGATE_MEMORY_MIB", (settings.memory_bytes / (1024 * 1024)).max(1).to_string()),
            ("FLOWGATE_HTTP_ALLOWED_HOSTS", hosts.join(",")),
        ]
    }

    /// Where the tables lie: a URL without a slash at its end.
    pub fn lake(&self) -> &str {
        &self.worker.settings.lake.url
    }

    /// Calls one function with an event as AWS sends it, and answers what it answers, as `sam local invoke` does.
    ///
    /// # Errors
    /// Where there is no such function, the event is none of its own, or a trigger fails.
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, BoxError> {
        if let Some(trigger) = self.functions.trigger(function) {
            return Ok(trigger.call(&self.services, event).await?);
        }
        let function = self.functions.http(function).ok_or_else(|| format!("there is no function {function:?}"))?;
        Ok(gateway::invoke(&function, &self.services, &event).await?)
    }

    /// A token for twelve hours.
    ///
    /// # Errors
    /// Where it cannot be signed, which is a defect.
    pub fn token(&self, role: Role, tenant: &str) -> Result<String, BoxError> {
        // A clock that stands in the past may be moved on, past the end of a token of its time.
        let now = Clock::default().now().max(self.services.clock.now());
        let ttl = TimeDelta::hours(12);
        Ok(shared::token::issue(self.jwt_secret.as_bytes(), role.name(), tenant, role.name(), ttl, now)?)
    }

    /// Calls the scheduled functions once, and waits until what they handed out is worked on.
    ///
    /// # Errors
    /// What a function answers.
    pub async fn tick(&self) -> shared::Result<()> {
        self.triggers.fire().await?;
        let deadline = tokio::time::Instant::now() + LONGEST_TICK;
        loop {
            let counts = self.sqs.counts(&self.ticks_queue).map_err(shared::Error::internal)?;
            if counts.visible + counts.in_flight + counts.delayed == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(shared::Error::internal(format!("the tick is not worked on after a minute: {counts:?}")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops accepting, lets running runs finish for the time of grace, and ends. A run that is not finished then is
    /// delivered again after the next start.
    pub async fn shutdown(mut self) {
        self.gateway_stop.cancel();
        self.worker.shutdown.cancel();
        self.triggers.stop();
        // A client that holds its connection open must not hold the process.
        let _ = tokio::time::timeout(SHORT, finish(&mut self.gateway_tasks)).await;
        // It keeps the time of grace itself.
        finish(&mut self.worker_tasks).await;
        if tokio::time::timeout(SHORT, finish(&mut self.trigger_tasks)).await.is_err() {
            tracing::warn!("a scheduled function is cut off; the next minute makes up for it");
        }
        self.gateway_tasks.shutdown().await;
        self.trigger_tasks.shutdown().await;
        self.sqs.shutdown().await;
        self.dynamodb.shutdown().await;
    }
}

async fn finish(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Takes the data folder. A killed stack holds it a moment longer than it lives, so a restart waits for that moment.
async fn lock(folder: &DataFolder) -> Result<Lock, DataFolderError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    loop {
        match folder.lock() {
            Err(DataFolderError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StackError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => StackError::PortTaken { address },
        _ => StackError::Listen { address, source },
    })
}

fn files_root(given: Option<&Path>, folder: &DataFolder) -> Result<PathBuf, StackError> {
    let Some(path) = given else { return Ok(folder.root().to_owned()) };
    let fault = |source| StackError::FilesRoot { path: path.to_owned(), source };
    std::fs::read_dir(path).map_err(fault)?;
    path.canonicalize().map_err(fault)
}

async fn start_queues(template: &Template, path: &Path) -> Result<Sqs, StackError> {
    let what = "the queue";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(part(what))?;
    // Visibility is about who works right now, so it follows the system's clock even where a test moves its own.
    let sqs = Sqs::start(listener, path, Clock::default()).map_err(part(what))?;
    for queue in &template.queues {
        sqs.ensure_queue(&queue.name, &queue.attributes).map_err(part(what))?;
    }
    Ok(sqs)
}

/// What the handlers have, and the name of the queue of ticks.
fn services(
    options: &Options,
    template: &Template,
    folder: &DataFolder,
    dynamodb: &DynamoDb,
    sqs: &Sqs,
) -> Result<(Arc<Services>, String), StackError> {
    let queue = |variable: &'static str| {
        template.resource(variable).map(str::to_owned).ok_or_else(|| StackError::Part {
            what: "the queue",
            source: format!("template.yaml sets no {variable} to a queue").into(),
        })
    };
    let (runs, ticks) = (queue("FLOWGATE_RUNS_QUEUE_URL")?, queue("FLOWGATE_TICKS_QUEUE_URL")?);
    let config = Config {
        table: template.table.name.clone(),
        runs_queue_url: sqs.queue_url(&runs),
        ticks_queue_url: sqs.queue_url(&ticks),
        shards: template.shards,
        cursor_key: folder.cursor_key()?,
        tokens: TokenConfig {
            algorithms: vec!["HS256".to_owned()],
            secret: Some(folder.jwt_secret()?),
            ..TokenConfig::default()
        },
        secrets: SecretsConfig::File(folder.secrets_key()),
        scaling: None,
        local_fs: options.local_fs,
        lease_seconds: options.lease_seconds,
    };
    let table = aws_sdk_dynamodb::Client::new(&local_config(&dynamodb.endpoint()));
    let queue = aws_sdk_sqs::Client::new(&local_config(&sqs.endpoint()));
    let services = Services {
        clock: options.clock.clone(),
        store: Store::new(table, &config.table, config.shards).with_lease(config.lease_seconds),
        queue: Queue::new(queue, &config.runs_queue_url, &config.ticks_queue_url),
        verifier: Verifier::from_config(&config.tokens).map_err(part("the check of tokens"))?,
        cursors: Cursors::new(config.cursor_key.as_bytes()),
        sealer: Sealer::file(&folder.secrets_key()).map_err(part("the store of secrets"))?,
        workers: None,
        config,
    };
    Ok((Arc::new(services), ticks))
}

fn start_worker(
    options: &Options,
    folder: &DataFolder,
    files_root: &Path,
    services: &Arc<Services>,
) -> Result<Arc<Worker>, StackError> {
    let what = "the worker";
    let opener = shared::secrets::Opener::file(&folder.secrets_key()).map_err(part(what))?;
    let settings = Settings {
        files_root: Some(files_root.to_owned()),
        lake: lake(options.lake.clone(), folder)?,
        http_allowed_hosts: options.allowed_hosts.clone(),
        memory_bytes: options.memory_bytes,
        scratch: folder.scratch(),
        cores: std::thread::available_parallelism().map_or(2, usize::from),
    };
    worker::start::worker(Arc::clone(services), opener, settings, Protection::default()).map_err(part(what))
}

/// The lake that was asked for, or that of the data folder.
fn lake(given: Option<Lake>, folder: &DataFolder) -> Result<Lake, StackError> {
    let Some(Lake { url, options }) = given else {
        let url = url::Url::from_file_path(folder.lake()).map_err(|()| part("the lake")("its path is not absolute"))?;
        return Ok(Lake { url: url.as_str().trim_end_matches('/').to_owned(), options: HashMap::new() });
    };
    match url::Url::parse(&url) {
        Ok(parsed) if ["file", "s3"].contains(&parsed.scheme()) => {
            Ok(Lake { url: url.trim_end_matches('/').to_owned(), options })
        }
        _ => Err(StackError::Lake { url }),
    }
}

async fn serve(listener: TcpListener, gateway: Gateway, stop: CancellationToken) {
    let app = gateway.router().into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "the gateway stopped");
    }
}
