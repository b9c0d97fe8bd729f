//! What system tests have in common: a stack of their own, and a client that speaks to it over HTTP.

pub mod binaries;
pub mod named;
pub mod recorded;
pub mod s3;
pub mod servers;
pub mod stalled;

use aws_sdk_dynamodb::types::AttributeValue;
use flowgate::stack::{Options, Stack};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::clock::Clock;
use shared::models::time::Time;
use shared::roles::Role;
use shared::store::keys;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a test waits for a state.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A stack in a temporary folder.
pub struct World {
    pub stack: Stack,
    /// An editor of the tenant `acme`.
    pub api: Api,
    folder: TempDir,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    /// The answer, if it has this status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
    /// The pointers of a validation problem.
    pub fn pointers(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["pointer"].as_str().unwrap_or("").to_owned()).collect()
    }
}

/// A client with a token.
#[derive(Clone)]
pub struct Api {
    pub base: String,
    pub token: String,
    http: reqwest::Client,
}

impl Api {
    /// A client of the API at `base` (`http://host:port`).
    pub fn new(base: &str, token: &str) -> Self {
        Self { base: format!("{base}/api/v1"), token: token.to_owned(), http: reqwest::Client::new() }
    }

    /// Sends a request with these headers beside the token's.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request =
                request.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}"));
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }
    /// A POST with an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send(Method::POST, path, &headers, Some(body.to_string())).await
    }

    /// Creates something and answers its id.
    pub async fn create(&self, path: &str, body: &Value) -> String {
        self.post(path, body).await.expect(201).json()["id"].as_str().unwrap().to_owned()
    }

    /// Triggers a run and answers its id.
    pub async fn run(&self, pipeline: &str, parameters: Value) -> String {
        self.create(&format!("/pipelines/{pipeline}/run"), &json!({ "parameters": parameters })).await
    }

    /// Waits until a run is final and answers it.
    pub async fn finished(&self, pipeline: &str, run: &str) -> Value {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let run = self.get(&format!("/pipelines/{pipeline}/runs/{run}")).await.expect(200).json();
            if !matches!(run["status"].as_str(), Some("pending" | "running")) {
                return run;
            }
            assert!(tokio::time::Instant::now() < deadline, "not finished in time: {run}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All rows of a schema's table, page by page.
    pub async fn rows(&self, schema: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/schemas/{schema}/data?limit=500{cursor}")).await.expect(200).json();
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["pagination"]["cursor"].as_str() {
                None => return rows,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

impl World {
    /// A new stack, empty, whose schedule only ticks when it is told to.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other options.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("data"));
        options.scheduled = false;
        change(&mut options);
        let stack = Stack::start(options).await.unwrap();
        let api = Api::new(&stack.url(), &stack.token(Role::Editor, "acme").unwrap());
        Self { stack, api, folder }
    }

    /// A client with another role or tenant.
    pub fn api(&self, role: Role, tenant: &str) -> Api {
        Api::new(&self.stack.url(), &self.stack.token(role, tenant).unwrap())
    }

    /// Writes a file that `local_fs` can read.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.stack.files_root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A temporary folder that lives as long as the stack.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder in which the tables of the tenant `acme` lie.
    pub fn lake(&self) -> PathBuf {
        self.stack.folder().lake().join("acme")
    }

    /// A connector to a path of the files root.
    pub async fn connector(&self, name: &str, path: &str) -> String {
        self.api.create("/connectors", &json!({"name": name, "type": "local_fs", "config": {"path": path}})).await
    }

    /// A schema with these fields.
    pub async fn schema(&self, name: &str, fields: Value) -> String {
        self.api.create("/schemas", &json!({"name": name, "fields": fields})).await
    }

    /// A pipeline that copies a connector's data into a schema.
    pub async fn copy(&self, connector: &str, schema: &str) -> String {
        let body = json!({"name": "copy", "connectorId": connector, "schemaId": schema});
        self.api.create("/pipelines", &body).await
    }

    /// Triggers a run and waits for its end.
    pub async fn run(&self, pipeline: &str) -> Value {
        let run = self.api.run(pipeline, json!({})).await;
        self.api.finished(pipeline, &run).await
    }

    /// Makes a run that has ended one whose worker died after its commit, and did not report it.
    pub async fn not_reported(&self, pipeline: &str, run: &str) {
        let key = keys::run("acme", pipeline, run);
        let past = Time(Clock::default().now() - chrono::Duration::seconds(120));
        aws_sdk_dynamodb::Client::new(&local_config(&self.stack.table_endpoint()))
            .update_item()
            .table_name(self.stack.services().config.table.clone())
            .key("PK", AttributeValue::S(key.pk))
            .key("SK", AttributeValue::S(key.sk))
            .update_expression("SET #status = :running, leaseUntil = :past REMOVE finishedAt")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":running", AttributeValue::S("running".to_owned()))
            .expression_attribute_values(":past", AttributeValue::S(past.text()))
            .send()
            .await
            .unwrap();
    }
}
