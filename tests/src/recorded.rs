//! What is asked of an AWS service: a server that hands all on to it, and notes the IAM actions that it takes. It can keep
//! calls for itself, throttle them, or hold an answer back.

use axum::Router;
use axum::body::Bytes;
use axum::extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A server before DynamoDB or SQS.
pub struct Recorder {
    url: String,
    state: Arc<State>,
}

struct State {
    endpoint: String,
    client: reqwest::Client,
    notes: Mutex<BTreeSet<String>>,
    /// The text of the calls that are kept, and how many were.
    kept: Mutex<(Option<String>, usize)>,
    /// The text of the calls that are throttled.
    throttled: Mutex<Option<String>>,
    held: Mutex<Option<Hold>>,
}

/// Which answer is to be held back.
struct Hold {
    /// The text of its call.
    text: String,
    tell: oneshot::Sender<()>,
    wait: oneshot::Receiver<()>,
}

/// An answer that is held back.
pub struct Held {
    there: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the service has answered, does something, and lets the answer go.
    pub async fn meanwhile(self, something: impl Future<Output = ()>) {
        self.there.await.expect("an answer");
        something.await;
        self.go.send(()).expect("somebody waits for the answer");
    }
}

impl Recorder {
    /// Stands before the service at `endpoint`.
    pub async fn start(endpoint: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let client = reqwest::Client::new();
        let (notes, kept) = (Mutex::default(), Mutex::default());
        let (throttled, held) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { endpoint, client, notes, kept, throttled, held });
        let router = Router::new().fallback(hand_on).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The actions that the calls so far needed.
    pub fn actions(&self) -> BTreeSet<String> {
        self.state.notes.lock().expect("not poisoned").clone()
    }

    /// The same since they were last taken.
    pub fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.state.notes.lock().expect("not poisoned"))
    }

    /// From now on no call in which this text stands is answered, or handed on.
    pub fn keep(&self, text: &str) {
        self.state.kept.lock().expect("not poisoned").0 = Some(text.to_owned());
    }

    /// From now on each call in which this text stands is told that there are too many.
    pub fn throttle(&self, text: &str) {
        *self.state.throttled.lock().expect("not poisoned") = Some(text.to_owned());
    }

    /// Holds back the answer to the next call in which this text stands.
    pub fn hold(&self, text: &str) -> Held {
        let ((tell, there), (go, wait)) = (oneshot::channel(), oneshot::channel());
        *self.state.held.lock().expect("not poisoned") = Some(Hold { text: text.to_owned(), tell, wait });
        Held { there, go }
    }

    /// How many calls came that were not answered.
    pub fn kept(&self) -> usize {
        self.state.kept.lock().expect("not poisoned").1
    }
}

impl State {
    /// Whether a call is kept.
    fn keeps(&self, body: &[u8]) -> bool {
        let mut kept = self.kept.lock().expect("not poisoned");
        let is_one = kept.0.as_ref().is_some_and(|text| holds(body, text));
        kept.1 += usize::from(is_one);
        is_one
    }

    /// Whether a call is throttled.
    fn throttles(&self, body: &[u8]) -> bool {
        self.throttled.lock().expect("not poisoned").as_ref().is_some_and(|text| holds(body, text))
    }

    /// Waits where the answer to a call is to be held back.
    async fn hold(&self, body: &[u8]) {
        let held = self.held.lock().expect("not poisoned").take_if(|hold| holds(body, &hold.text));
        if let Some(hold) = held {
            hold.tell.send(()).expect("somebody waits for the answer");
            hold.wait.await.expect("it is let go");
        }
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(body).contains(text)
}

async fn hand_on(extract::State(state): extract::State<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    if state.keeps(&body) {
        // Whoever asks gives up.
        return std::future::pending().await;
    }
    if state.throttles(&body) {
        let told = r#"{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "Rate exceeded"}"#;
        return (StatusCode::BAD_REQUEST, told).into_response();
    }
    let target = headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
    state.notes.lock().expect("not poisoned").extend(needed(&target, &body));
    let mut request = state.client.post(&state.endpoint).body(body.clone());
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host" && *name != "content-length") {
        request = request.header(name, value);
    }
    let answer = request.send().await;
    state.hold(&body).await;
    match answer {
        Ok(answer) => {
            let status = answer.status();
            let headers = answer.headers().clone();
            let mut response = (status, answer.bytes().await.unwrap_or_default()).into_response();
            for (name, value) in
                headers.iter().filter(|(name, _)| *name != "content-length" && *name != "transfer-encoding")
            {
                response.headers_mut().insert(name, value.clone());
            }
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// The IAM actions that a call needs; a transaction needs those of its parts.
fn needed(target: &str, body: &[u8]) -> Vec<String> {
    let (service, call) = target.split_once('.').unwrap_or(("", target));
    let prefix = if service.starts_with("DynamoDB") { "dynamodb" } else { "sqs" };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let parts = |list: &str| -> Vec<String> {
        let items = body[list].as_array().into_iter().flatten();
        items.filter_map(Value::as_object).flat_map(|item| item.keys().cloned().collect::<Vec<_>>()).collect()
    };
    match call {
        "TransactWriteItems" => parts("TransactItems")
            .into_iter()
            .map(|part| match part.as_str() {
                "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
                write => format!("dynamodb:{write}Item"),
            })
            .collect(),
        "TransactGetItems" => vec!["dynamodb:GetItem".to_owned()],
        "SendMessageBatch" => vec!["sqs:SendMessage".to_owned()],
        other => vec![format!("{prefix}:{other}")],
    }
}
