//! A function's real binary under AWS's Runtime Interface Emulator, with a note of all that it asks of AWS.

use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::recorded::Recorder;
use tokio::net::{TcpListener, TcpStream};

/// How long the emulator may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds binaries of the workspace.
pub fn build(names: &[&str]) -> HashMap<String, PathBuf> {
    tests::binaries::build(names, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A running function.
pub struct Function {
    name: String,
    url: String,
    emulator: Child,
    log: PathBuf,
    asked: Arc<Vec<Recorder>>,
}

impl Function {
    /// Starts `binary` with this environment; `services` are the endpoints of `DYNAMODB` and `SQS`.
    pub async fn start(
        emulator: &Path,
        binary: &Path,
        folder: &Path,
        environment: &[(&str, String)],
        services: &[(&str, String)],
    ) -> Self {
        let name = binary.file_stem().and_then(|n| n.to_str()).expect("a binary has a name").to_owned();
        let (mut asked, mut endpoints) = (vec![], vec![]);
        for (service, endpoint) in services {
            let recorder = Recorder::start(endpoint.clone()).await;
            endpoints.push((format!("AWS_ENDPOINT_URL_{service}"), recorder.url().to_owned()));
            asked.push(recorder);
        }
        let asked = Arc::new(asked);
        let log = folder.join(format!("{name}.log"));
        // Another process may take a port between the look and the use.
        for _ in 0..5 {
            let (outer, inner) = (free_port().await, free_port().await);
            let output = std::fs::File::create(&log).expect("a log");
            let child = Command::new(emulator)
                .args(["--runtime-interface-emulator-address", &outer.to_string()])
                .args(["--runtime-api-address", &inner.to_string()])
                .arg(binary)
                .env_clear()
                .envs([("AWS_REGION", "local"), ("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")])
                .envs(endpoints.iter().map(|(name, value)| (name, value)))
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .current_dir(folder)
                .stdout(output.try_clone().expect("a log"))
                .stderr(output)
                .spawn()
                .expect("the emulator starts");
            let url = format!("http://{outer}/2015-03-31/functions/function/invocations");
            let mut function =
                Self { name: name.clone(), url, emulator: child, log: log.clone(), asked: Arc::clone(&asked) };
            if function.listens(outer).await {
                return function;
            }
        }
        panic!("the emulator does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    async fn listens(&mut self, address: SocketAddr) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.emulator.try_wait().expect("a child of ours").is_none() {
            if TcpStream::connect(address).await.is_ok() {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// What the function answers to an event.
    pub async fn invoke(&self, event: &Value) -> Value {
        let answer = reqwest::Client::new().post(&self.url).timeout(PATIENCE).json(event).send().await;
        let text = match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => panic!("{} does not answer: {error}\n{}", self.name, self.logged()),
        };
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", self.logged()));
        assert!(answer["errorType"].is_null(), "{answer:#}\n{}", self.logged());
        answer
    }

    /// What it wrote to its log.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The IAM actions that its calls so far needed.
    pub fn used(&self) -> BTreeSet<String> {
        self.asked.iter().flat_map(Recorder::actions).collect()
    }
}

impl Drop for Function {
    /// Asks the emulator to end, which ends the function too; only after that it is killed.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.emulator.id().to_string()]).status();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.emulator.try_wait(), Ok(None)) {
                return;
            }
            std::thread::yield_now();
        }
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    listener.local_addr().expect("an address")
}
