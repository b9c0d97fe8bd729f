//! Functions as they are deployed: the real binaries, through the Lambda Runtime API, against the embedded table and queue.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says by them what it waited for")]

mod deployed;
mod emulator;
mod python;

use aws_sdk_sqs::types::QueueAttributeName;
use chrono::{Duration, Utc};
use emulator::Function;
use flowgate::dynamodb::DynamoDb;
use flowgate::sqs::Sqs;
use flowgate::template::Template;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use python::Tools;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::clock::Clock;
use shared::models::pipeline::Pipeline;
use shared::models::run::Trigger;
use shared::models::time::Time;
use shared::store::Store;
use shared::store::keys::Kind;
use shared::store::resources::Slice;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tests::named::{self, PIPELINE};
use tests::servers;

const TENANT: &str = "acme";
const JWT_SECRET: &str = "a secret of at least thirty-two characters";

/// What is around the functions in the cloud.
struct Cloud {
    folder: TempDir,
    emulator: PathBuf,
    binaries: HashMap<String, PathBuf>,
    dynamodb: DynamoDb,
    sqs: Sqs,
    store: Store,
    runs: String,
    ticks: String,
}

impl Cloud {
    /// None where the emulator cannot be had.
    async fn start(functions: &[&str]) -> Option<Self> {
        let what = format!("{} through the Lambda Runtime API", functions.join(", "));
        let emulator = Tools::install(&python::AWS, &what)?.runtime_emulator();
        let folder = tempfile::tempdir().expect("a folder");
        let template = Template::embedded().expect("template.yaml");
        let dynamodb = DynamoDb::start(&folder.path().join("table"), &template.table).await.expect("a table");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sqs = Sqs::start(listener, &folder.path().join("queues"), Clock::default()).expect("queues");
        for queue in &template.queues {
            sqs.ensure_queue(&queue.name, &queue.attributes).expect("a queue");
        }
        let url = |variable: &str| sqs.queue_url(template.resource(variable).expect("a queue of template.yaml"));
        let (runs, ticks) = (url("FLOWGATE_RUNS_QUEUE_URL"), url("FLOWGATE_TICKS_QUEUE_URL"));
        let client = aws_sdk_dynamodb::Client::new(&local_config(&dynamodb.endpoint()));
        let store = Store::new(client, &template.table.name, 8);
        Some(Self { binaries: emulator::build(functions), folder, emulator, dynamodb, sqs, store, runs, ticks })
    }

    /// A function with the environment that template.yaml gives it.
    async fn function(&self, name: &str) -> Function {
        self.function_with(name, &[], &[]).await
    }

    /// The same with values of these parameters of the deployment, and with what is so on its machine.
    async fn function_with(&self, name: &str, parameters: &[(&str, String)], machine: &[(&str, String)]) -> Function {
        let of = deployed::lambdas().into_iter().find(|f| f.binary == name).expect("a function of template.yaml");
        let template = deployed::template("template.yaml");
        let both = [&template["Globals"]["Function"], &of.properties]
            .map(|p| deployed::entries(&p["Environment"]["Variables"]));
        let variables: Vec<String> = both.into_iter().flatten().map(|(name, _)| name).collect();
        let known = [
            ("FLOWGATE_TABLE", Template::embedded().expect("template.yaml").table.name),
            ("FLOWGATE_RUNS_QUEUE_URL", self.runs.clone()),
            ("FLOWGATE_TICKS_QUEUE_URL", self.ticks.clone()),
            ("FLOWGATE_JWT_ALGORITHMS", "HS256".to_owned()),
            ("FLOWGATE_JWT_SECRET", JWT_SECRET.to_owned()),
            ("FLOWGATE_CURSOR_KEY", "another secret of thirty-two characters".to_owned()),
        ];
        // Only what template.yaml sets, so that a variable that is missing there is missing here.
        let mut environment = HashMap::from(known);
        environment.extend(parameters.iter().cloned());
        environment.retain(|name, _| variables.iter().any(|of_template| of_template == name));
        let environment: Vec<_> = environment.into_iter().chain(machine.iter().cloned()).collect();
        let services = [("DYNAMODB", self.dynamodb.endpoint()), ("SQS", self.sqs.endpoint())];
        Function::start(&self.emulator, &self.binaries[name], self.folder.path(), &environment, &services).await
    }

    /// A message of a queue, in the form of an event's record; it stays hidden for the time of the queue.
    async fn receive(&self, queue: &str) -> Option<Value> {
        let client = aws_sdk_sqs::Client::new(&local_config(&self.sqs.endpoint()));
        let answer = client.receive_message().queue_url(queue).wait_time_seconds(1).send().await.expect("an answer");
        let message = answer.messages.unwrap_or_default().into_iter().next()?;
        Some(json!({"messageId": message.message_id, "body": message.body, "eventSource": "aws:sqs"}))
    }

    async fn waiting(&self, queue: &str) -> String {
        let client = aws_sdk_sqs::Client::new(&local_config(&self.sqs.endpoint()));
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let answer = client.get_queue_attributes().queue_url(queue).attribute_names(name.clone()).send().await;
        answer.expect("an answer").attributes.expect("attributes").remove(&name).expect("a number")
    }

    /// The connector and the schema that tests/events/ name.
    async fn keep_connector_and_schema(&self) {
        named::keep_connector(&self.store, TENANT, "Customer files").await;
        named::keep_schema(&self.store, TENANT, "customers").await;
    }

    async fn shutdown(self) {
        self.sqs.shutdown().await;
        self.dynamodb.shutdown().await;
    }
}

/// An event of tests/events/ with a token of this role in it.
fn event(name: &str, role: &str) -> Value {
    let ttl = Duration::hours(1);
    let token = shared::token::issue(JWT_SECRET.as_bytes(), "ada", TENANT, role, ttl, Utc::now()).expect("a token");
    let text = deployed::read(&format!("tests/events/{name}.json"));
    assert!(text.contains("Bearer TOKEN") || !text.contains("authorization"), "{name} has no place for a token");
    serde_json::from_str(&text.replace("Bearer TOKEN", &format!("Bearer {token}"))).expect("JSON")
}

/// Status and JSON body of an answer in API Gateway's form.
fn answer(answer: &Value) -> (u64, Value) {
    let body = answer["body"].as_str().unwrap_or("null");
    (
        answer["statusCode"].as_u64().unwrap_or_default(),
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer:#}")),
    )
}

/// An identity provider that publishes its keys over TLS, with a certificate that it has signed itself.
struct Issuer {
    server: Child,
    url: String,
    /// The path of its certificate.
    certificate: String,
    key: EncodingKey,
}

impl Issuer {
    fn start(folder: &Path) -> Self {
        let [tls_key, certificate, key, unused] =
            ["tls.pem", "certificate.pem", "key.pem", "unused.pem"].map(|name| folder.join(name));
        servers::certify(&tls_key, &certificate);
        servers::certify(&key, &unused);
        let key = EncodingKey::from_ec_pem(&std::fs::read(key).expect("a key")).expect("a key of P-256");
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some("first".to_owned());
        std::fs::write(folder.join("jwks.json"), json!({"keys": [jwk]}).to_string()).expect("a key set");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")]);
        openssl.arg("-key").arg(&tls_key).arg("-cert").arg(&certificate);
        let server = openssl.current_dir(folder).stdin(Stdio::null()).spawn().expect("openssl starts");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let url = format!("https://localhost:{port}/jwks.json");
        Self { server, url, certificate: certificate.display().to_string(), key }
    }

    /// An event with a token that is signed by `key`.
    fn event(&self, name: &str, key: &EncodingKey) -> Value {
        let header = Header { kid: Some("first".to_owned()), ..Header::new(Algorithm::ES256) };
        let exp = (Utc::now() + Duration::hours(1)).timestamp();
        let claims =
            json!({"sub": "ada", "tenantId": TENANT, "role": "viewer", "exp": exp, "iss": "https://id.example"});
        let token = jsonwebtoken::encode(&header, &claims, key).expect("a token");
        let text = deployed::read(&format!("tests/events/{name}.json"));
        serde_json::from_str(&text.replace("Bearer TOKEN", &format!("Bearer {token}"))).expect("JSON")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_are_fetched_over_tls_from_whom_the_machine_trusts() {
    if !servers::has("openssl", "functions that fetch the keys of an issuer over TLS") {
        return;
    }
    let Some(cloud) = Cloud::start(&["list_pipelines"]).await else {
        return;
    };
    let issuer = Issuer::start(cloud.folder.path());
    let parameters = [
        ("FLOWGATE_JWT_ALGORITHMS", "ES256".to_owned()),
        ("FLOWGATE_JWT_ISSUER", "https://id.example".to_owned()),
        ("FLOWGATE_JWKS_URL", issuer.url.clone()),
    ];
    let trusted = [("SSL_CERT_FILE", issuer.certificate.clone())];
    let list = cloud.function_with("list_pipelines", &parameters, &trusted).await;
    let (status, page) = answer(&list.invoke(&issuer.event("list_pipelines", &issuer.key)).await);
    assert_eq!((status, &page["data"]), (200, &json!([])), "{page:#}\n{}", list.logged());
    let (other, unused) = (cloud.folder.path().join("other.pem"), cloud.folder.path().join("unused.pem"));
    servers::certify(&other, &unused);
    let other = EncodingKey::from_ec_pem(&std::fs::read(other).expect("a key")).expect("a key of P-256");
    let (status, refused) = answer(&list.invoke(&issuer.event("list_pipelines", &other)).await);
    assert_eq!(status, 401, "{refused:#}");
    // Of the algorithms, only the configured ones.
    let (status, refused) = answer(&list.invoke(&event("list_pipelines", "admin")).await);
    assert_eq!(status, 401, "{refused:#}");
    drop(list);

    let list = cloud.function_with("list_pipelines", &parameters, &[]).await;
    let (status, refused) = answer(&list.invoke(&issuer.event("list_pipelines", &issuer.key)).await);
    assert_eq!(status, 503, "{refused:#}");
    assert!(list.logged().contains("certificate"), "{}", list.logged());
    drop((list, issuer));
    cloud.shutdown().await;
}

/// Fails where a function did what template.yaml does not allow it.
fn assert_allowed(function: &Function, name: &str) {
    let of = deployed::lambdas().into_iter().find(|f| f.binary == name).expect("a function of template.yaml");
    let allowed = deployed::actions(&of);
    let used = function.used();
    assert!(!used.is_empty(), "{name} asked nothing of AWS");
    let more: Vec<_> = used.difference(&allowed).collect();
    assert!(more.is_empty(), "{name} needs {more:?}, which template.yaml does not allow it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_created_and_run_by_the_real_binaries() {
    let Some(cloud) = Cloud::start(&["create_pipeline", "run_pipeline"]).await else {
        return;
    };
    cloud.keep_connector_and_schema().await;
    let (create, run) = (cloud.function("create_pipeline").await, cloud.function("run_pipeline").await);

    let (status, refused) = answer(&create.invoke(&event("create_pipeline", "viewer")).await);
    assert_eq!((status, &refused["status"]), (403, &json!(403)), "{refused:#}");

    let created = create.invoke(&event("create_pipeline", "editor")).await;
    let (status, pipeline) = answer(&created);
    assert_eq!(status, 201, "{pipeline:#}\n{}", create.logged());
    let id = pipeline["id"].as_str().expect("an id").to_owned();
    assert_eq!(created["headers"]["location"], format!("/api/v1/pipelines/{id}"));
    assert_eq!(pipeline["tenantId"], TENANT);
    assert_eq!(pipeline["connector"]["name"], "Customer files");
    let (status, again) = answer(&create.invoke(&event("create_pipeline", "editor")).await);
    assert_eq!((status, &again["id"]), (201, &json!(id)), "the same Idempotency-Key makes one pipeline");
    let kept: Pipeline = cloud.store.resource(TENANT, Kind::Pipeline, &id).await.expect("it is in the table");
    assert_eq!((kept.name.as_str(), kept.nodes.0.len()), ("Customer import", 3));

    let (status, nothing) = answer(&run.invoke(&event("run_pipeline", "editor")).await);
    assert_eq!((status, &nothing["code"]), (404, &json!("NOT_FOUND")), "{nothing:#}");

    let mine = event("run_pipeline", "editor").to_string().replace(PIPELINE, &id);
    let mine: Value = serde_json::from_str(&mine).expect("JSON");
    let (status, first) = answer(&run.invoke(&mine).await);
    assert_eq!((status, &first["status"]), (201, &json!("pending")), "{first:#}\n{}", run.logged());
    let message = cloud.receive(&cloud.runs).await.expect("a message on the queue");
    let body: Value = serde_json::from_str(message["body"].as_str().expect("text")).expect("JSON");
    let expected = json!({"task": "run", "tenantId": TENANT, "pipelineId": id, "runId": first["id"]});
    assert_eq!(body, expected, "a message carries ids only");

    assert_allowed(&create, "create_pipeline");
    assert_allowed(&run, "run_pipeline");
    drop((create, run));
    cloud.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_pipeline_is_fired_once_by_the_real_binary() {
    let Some(cloud) = Cloud::start(&["on_schedule"]).await else {
        return;
    };
    cloud.keep_connector_and_schema().await;
    let before = Time(Clock::default().now() - Duration::hours(3));
    let pipeline = named::pipeline(TENANT, Some("@hourly"), before);
    cloud.store.create_pipeline(&pipeline, None).await.expect("a pipeline that is due");
    let tick = cloud.function("on_schedule").await;

    let answer = tick.invoke(&event("on_schedule", "admin")).await;
    assert_eq!(answer["shards"], 8, "{answer:#}");
    assert_eq!(cloud.waiting(&cloud.ticks).await, "8", "one message a shard");
    let mut shards = vec![];
    while let Some(record) = cloud.receive(&cloud.ticks).await {
        shards.push(record);
    }
    // At least once: the whole batch comes twice.
    for _ in 0..2 {
        let answer = tick.invoke(&json!({ "Records": shards })).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }), "{}", tick.logged());
    }
    let slice = Slice { limit: 20, ..Slice::default() };
    let runs = cloud.store.runs(TENANT, PIPELINE, None, &slice).await.expect("runs").items;
    assert_eq!(runs.len(), 1, "only the latest of the missed fires, and it once: {runs:#?}\n{}", tick.logged());
    assert_eq!(runs[0].trigger, Trigger::Schedule);
    let message = cloud.receive(&cloud.runs).await.expect("a message on the queue");
    assert!(message["body"].as_str().is_some_and(|body| body.contains(&runs[0].id)), "{message:#}");
    assert!(cloud.receive(&cloud.runs).await.is_none(), "one message");

    assert_allowed(&tick, "on_schedule");
    drop(tick);
    cloud.shutdown().await;
}
