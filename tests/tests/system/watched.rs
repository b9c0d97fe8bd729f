//! The stack's functions once more, over a table and queues that note what is asked of them.

use flowgate::functions::Functions;
use flowgate::gateway::{self, Gateway};
use flowgate::template::Template;
use serde_json::Value;
use shared::aws::{Workers, local_config};
use shared::config::SecretsConfig;
use shared::context::Services;
use shared::cursor::Cursors;
use shared::protection::Protection;
use shared::queue::Queue;
use shared::roles::Role;
use shared::secrets::{Opener, Sealer};
use shared::store::Store;
use shared::token::Verifier;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::recorded::Recorder;
use tests::{Answer, Api, World};
use tokio::net::TcpListener;
use worker::Worker;
use worker::engine::job::{Lake, Settings};

/// What services reach.
pub(crate) struct Around {
    pub(crate) table: String,
    pub(crate) queues: String,
    /// The address of the queue of ticks.
    pub(crate) ticks: String,
    pub(crate) workers: Option<Workers>,
}

impl Around {
    /// What the stack's own services reach.
    pub(crate) fn of(world: &World) -> Self {
        Self {
            table: world.stack.table_endpoint(),
            queues: world.stack.queues().endpoint(),
            ticks: world.stack.services().config.ticks_queue_url.clone(),
            workers: None,
        }
    }
}

/// The stack's services with other ways to what is around them.
pub(crate) fn services(world: &World, around: Around) -> Arc<Services> {
    let of = world.stack.services();
    let table = aws_sdk_dynamodb::Client::new(&local_config(&around.table));
    let queues = aws_sdk_sqs::Client::new(&local_config(&around.queues));
    Arc::new(Services {
        clock: of.clock.clone(),
        store: Store::new(table, &of.config.table, of.config.shards).with_lease(of.config.lease_seconds),
        queue: Queue::new(queues, &of.config.runs_queue_url, &around.ticks),
        verifier: Verifier::from_config(&of.config.tokens).unwrap(),
        cursors: Cursors::new(of.config.cursor_key.as_bytes()),
        sealer: Sealer::file(secrets(of)).unwrap(),
        workers: around.workers,
        config: of.config.clone(),
    })
}

fn secrets(services: &Services) -> &Path {
    match &services.config.secrets {
        SecretsConfig::File(path) => path,
        _ => panic!("the local stack keeps its key in a file"),
    }
}

/// The functions, with what each asked of AWS so far.
pub(crate) struct Watched {
    services: Arc<Services>,
    functions: Functions,
    recorders: [Recorder; 2],
    /// An editor of the tenant `acme`.
    pub(crate) api: Api,
    /// By the name of the binary.
    pub(crate) used: BTreeMap<String, BTreeSet<String>>,
}

impl Watched {
    /// The functions of a world.
    pub(crate) async fn of(world: &World, workers: Option<Workers>) -> Self {
        let (recorders, services, worker) = parts(world, "watched", workers).await;
        let functions = Functions::new(worker::answer::function(worker));
        let api = serve(world, &functions, &services).await;
        Self { services, functions, recorders, api, used: BTreeMap::new() }
    }

    /// What stands before the table.
    pub(crate) fn table(&self) -> &Recorder {
        &self.recorders[0]
    }

    /// Notes what was asked since the last time as what this function asked.
    pub(crate) fn note(&mut self, function: &str, answer: Answer) -> Answer {
        self.take(function);
        answer
    }

    /// Leaves out what was asked since the last time.
    pub(crate) fn forget(&self) {
        self.recorders.iter().for_each(|recorder| drop(recorder.take()));
    }

    fn take(&mut self, function: &str) {
        let used = self.used.entry(function.to_owned()).or_default();
        self.recorders.iter().for_each(|recorder| used.extend(recorder.take()));
    }

    /// Calls a function with an event.
    pub(crate) async fn call(&mut self, name: &str, event: Value) -> Value {
        let answer = match self.functions.trigger(name) {
            Some(trigger) => trigger.call(&self.services, event).await.unwrap(),
            None => gateway::invoke(&self.functions.http(name).unwrap(), &self.services, &event).await.unwrap(),
        };
        self.take(name);
        answer
    }

    /// Lets a worker take runs off the queue until something is so.
    pub(crate) async fn work(&mut self, world: &World, what: &str, met: impl AsyncFnMut() -> bool) {
        let (recorders, _, worker) = parts(world, "working", None).await;
        let poll = tokio::spawn(Arc::clone(&worker).poll(1, Duration::from_secs(10)));
        crate::wait(what, met).await;
        worker.shutdown.cancel();
        poll.await.unwrap();
        let used = self.used.entry("worker".to_owned()).or_default();
        recorders.iter().for_each(|recorder| used.extend(recorder.take()));
    }
}

/// Serves these functions, and answers a client with the token of an editor of the tenant `acme`.
async fn serve(world: &World, functions: &Functions, services: &Arc<Services>) -> Api {
    let routes = Template::embedded().unwrap().routes;
    let gateway = Gateway::new(&routes, functions, Arc::clone(services)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = gateway.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Api::new(&url, &world.stack.token(Role::Editor, "acme").unwrap())
}

/// A client of functions that work on a request for `longest` at most, with these services and this lake.
pub(crate) async fn hurried(world: &World, services: &Arc<Services>, lake: Lake, longest: Duration) -> Api {
    let worker = worker_over(world, "hurried", services, lake);
    let functions = Functions::new(worker::answer::function_within(worker, longest));
    serve(world, &functions, services).await
}

/// Recorders of table and queues, services over them, and a worker with these.
async fn parts(world: &World, scratch: &str, workers: Option<Workers>) -> ([Recorder; 2], Arc<Services>, Arc<Worker>) {
    let around = Around::of(world);
    let recorders = [Recorder::start(around.table).await, Recorder::start(around.queues).await];
    let [table, queues] = [&recorders[0], &recorders[1]].map(|recorder| recorder.url().to_owned());
    let services = services(world, Around { table, queues, ticks: around.ticks, workers });
    let worker = worker_of(world, scratch, &services);
    (recorders, services, worker)
}

/// A worker of a world with these services, and with this folder for its scratch.
pub(crate) fn worker_of(world: &World, scratch: &str, services: &Arc<Services>) -> Arc<Worker> {
    worker_over(world, scratch, services, lake(world))
}

/// The lake of a world that has it on its disk.
pub(crate) fn lake(world: &World) -> Lake {
    Lake { url: world.stack.lake().to_owned(), options: HashMap::new() }
}

fn worker_over(world: &World, scratch: &str, services: &Arc<Services>, lake: Lake) -> Arc<Worker> {
    let settings = Settings {
        files_root: Some(world.stack.files_root().to_owned()),
        http_allowed_hosts: vec![],
        lake,
        memory_bytes: 256 << 20,
        scratch: world.folder().join(scratch),
        cores: 2,
    };
    let opener = Opener::file(secrets(services)).unwrap();
    worker::start::worker(Arc::clone(services), opener, settings, Protection::default()).unwrap()
}
