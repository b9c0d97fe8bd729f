//! The functions, in this process, whose table and queue are behind the proxy: their requests meet faults too.

use crate::moments::Service;
use crate::processes::LEASE;
use crate::proxy::{Around, Who};
use flowgate::data_folder::DataFolder;
use flowgate::functions::Functions;
use flowgate::gateway::Gateway;
use flowgate::template::Template;
use reqwest::Method;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::clock::Clock;
use shared::config::{Config, SecretsConfig, TokenConfig};
use shared::context::Services;
use shared::http::Function;
use shared::models::run::Run;
use shared::{cursor::Cursors, queue::Queue, secrets::Sealer, store::Store, token::Verifier};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

const TENANT: &str = "acme";
/// Seconds that no clock of a worker is wrong by.
const WRONG: u64 = 20;

/// The API and the tick over a faulty network.
pub struct Front {
    url: String,
    pub token: String,
    http: reqwest::Client,
    proxy: String,
    config: Config,
    data: DataFolder,
    around: Arc<Around>,
    /// When the last tick was, in milliseconds, and how far its clock was ahead, in seconds.
    ticked: AtomicI64,
    ahead: AtomicI64,
}

impl Front {
    /// Serves the API of the functions on a port of its own.
    pub async fn start(around: &Arc<Around>, data: &DataFolder, exports: &HashMap<String, String>) -> Self {
        let secret = data.jwt_secret().unwrap();
        let config = Config {
            table: exports["FLOWGATE_TABLE"].clone(),
            runs_queue_url: exports["FLOWGATE_RUNS_QUEUE_URL"].clone(),
            // Without a queue for them the tick works on its shards by itself.
            ticks_queue_url: String::new(),
            shards: shared::config::DEFAULT_SHARDS,
            cursor_key: data.cursor_key().unwrap(),
            tokens: TokenConfig {
                algorithms: vec!["HS256".to_owned()],
                secret: Some(secret.clone()),
                ..TokenConfig::default()
            },
            secrets: SecretsConfig::File(data.secrets_key()),
            scaling: None,
            local_fs: true,
            lease_seconds: LEASE as u32,
        };
        let now = chrono::Utc::now();
        let ttl = chrono::Duration::hours(12);
        let token = shared::token::issue(secret.as_bytes(), "storm", TENANT, "editor", ttl, now).unwrap();
        let proxy = around.open(Who::Functions).await;
        let mut front = Self {
            url: String::new(),
            token,
            http: reqwest::Client::new(),
            proxy,
            config,
            data: data.clone(),
            around: Arc::clone(around),
            ticked: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
        };
        let template = Template::embedded().unwrap();
        let functions = Functions::new(Function::router("worker", Vec::new()));
        let services = front.services(&front.proxy, &front.proxy, 0);
        let gateway = Gateway::new(&template.routes, &functions, services).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        front.url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let app = gateway.router().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        front
    }

    /// Services whose clock is ahead by so many seconds. They know how far it may be from those of workers, or a tick would end
    /// runs that live.
    fn services(&self, table: &str, queue: &str, ahead: i64) -> Arc<Services> {
        let config = &self.config;
        let apart = Duration::from_secs(WRONG + u64::try_from(ahead).unwrap_or(0));
        let table = aws_sdk_dynamodb::Client::new(&local_config(table));
        let queue = aws_sdk_sqs::Client::new(&local_config(queue));
        Arc::new(Services {
            clock: Clock::ahead(chrono::Duration::seconds(ahead)),
            store: Store::new(table, &config.table, config.shards)
                .with_lease(config.lease_seconds)
                .with_clocks_apart(apart),
            queue: Queue::new(queue, &config.runs_queue_url, ""),
            verifier: Verifier::from_config(&config.tokens).unwrap(),
            cursors: Cursors::new(config.cursor_key.as_bytes()),
            sealer: Sealer::file(&self.data.secrets_key()).unwrap(),
            workers: None,
            config: config.clone(),
        })
    }

    /// Posts; none where there was no answer in time.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Option<(u16, Value)> {
        self.send(Method::POST, path, key, Some(body)).await
    }

    /// Asks; none where there was no answer in time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.timeout(Duration::from_secs(20)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_str(&answer.text().await.ok()?).unwrap_or_default()))
    }

    /// A run as the table has it, without faults; none while the stack is away.
    pub async fn find(&self, pipeline: &str, run: &str) -> Option<Run> {
        self.look_at(pipeline, run).await.ok().flatten()
    }

    /// The same, where the table has said whether the run is there.
    pub async fn look_at(&self, pipeline: &str, run: &str) -> shared::Result<Option<Run>> {
        let table = self.around.address(Service::Table);
        let store = Store::new(aws_sdk_dynamodb::Client::new(&local_config(&table)), &self.config.table, 8);
        store.find_run(TENANT, pipeline, run).await
    }

    /// Ticks every few seconds instead of each minute, with a clock that is wrong, and further ahead each time: what is due
    /// some time is due now.
    pub async fn maybe_tick(&self, around: &Arc<Around>) {
        let now = chrono::Utc::now().timestamp_millis();
        if now - self.ticked.load(SeqCst) < 4000 {
            return;
        }
        self.ticked.store(now, SeqCst);
        let ahead = match around.faults.below(3) {
            0 => -600,
            1 => 0,
            _ => self.ahead.fetch_add(1800, SeqCst),
        };
        let services = self.services(&self.proxy, &self.proxy, ahead);
        let tick = on_schedule_trigger();
        around.faults.note("ticks, most of them with a clock that is wrong");
        // What it does not come to the next one does.
        tokio::select! {
            _ = tick.call(&services, json!({})) => {}
            () = around.deaths.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => {}
        }
    }
}

fn on_schedule_trigger() -> shared::runtime::Trigger {
    Functions::new(Function::router("worker", Vec::new())).trigger("on_schedule").unwrap()
}
