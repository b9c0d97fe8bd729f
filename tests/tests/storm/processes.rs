//! The real binaries as processes of their own: one stack, and workers that reach its table and queue through the proxy.

use crate::clock::Clock;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};

/// Seconds of a lease in the storm.
pub const LEASE: u64 = 2;

/// A binary of the workspace, which is built where this test lies where it was built; elsewhere it lies beside it.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let (own, temporary) = (std::env::current_exe().unwrap(), Path::new(env!("CARGO_TARGET_TMPDIR")));
        let names = ["flowgate", "worker"];
        if own.starts_with(temporary.parent().unwrap()) {
            return tests::binaries::build(&names, temporary);
        }
        names.map(|name| (name.to_owned(), own.ancestors().nth(2).unwrap().join(name))).into()
    });
    built[name].clone()
}

/// Where a bucket is, and with which key it opens.
pub fn bucket_environment(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "storm"),
        ("AWS_SECRET_ACCESS_KEY", "storm"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A running stack.
pub struct Stack {
    child: Child,
    pub api: String,
    /// What it says that workers must find in their environment.
    pub exports: HashMap<String, String>,
}

impl Stack {
    /// Starts the stack over `data`, with its tables in the bucket at `bucket`.
    pub fn start(data: &Path, bucket: &str, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut child = Command::new(binary("flowgate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--concurrent-runs", "0", "--lake", "s3://lake/tables"])
            .args(["--lease", &LEASE.to_string(), "--log", "warn", "--data-dir"])
            .arg(data)
            .envs(bucket_environment(bucket))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut api, mut exports) = (String::new(), HashMap::new());
        while !exports.contains_key("FLOWGATE_SCRATCH") {
            let line = lines.next().expect("the stack says how a worker is started").unwrap();
            if let Some(url) = line.trim().strip_prefix("API ") {
                api = url.trim().trim_end_matches("/api/v1").to_owned();
            }
            if let Some((name, value)) = line.trim().strip_prefix("export ").and_then(|line| line.split_once('=')) {
                exports.insert(name.to_owned(), value.trim_matches('\'').to_owned());
            }
        }
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, api, exports }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Sends a signal such as `STOP` to a process, which may be gone.
pub fn signal(process: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).stderr(Stdio::null()).status();
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A worker, which is started again whenever it is killed.
pub struct Worker {
    name: String,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    child: Mutex<Child>,
    /// Its clock, which can jump.
    pub clock: Clock,
    /// Whether something is being done to it.
    pub busy: AtomicBool,
    /// How often it was started.
    pub starts: AtomicUsize,
}

impl Worker {
    /// Starts a worker that reaches everything at `proxy`, with what the stack said that it must find. Its clock is wrong
    /// by `ahead` seconds at first; `library` makes it jump. What it spills lies below `scratch`.
    pub fn start(
        name: &str,
        (folder, scratch): (&Path, &Path),
        exports: &HashMap<String, String>,
        proxy: &str,
        (ahead, library): (i64, &Path),
    ) -> Self {
        let clock = Clock::new(folder.join(format!("{name}.clock")));
        let mut environment: HashMap<String, String> = exports.clone();
        environment.extend(bucket_environment(proxy));
        let own = [
            ("AWS_ENDPOINT_URL_DYNAMODB", proxy.to_owned()),
            ("AWS_ENDPOINT_URL_SQS", proxy.to_owned()),
            ("FLOWGATE_SCRATCH", scratch.join(name).display().to_string()),
            ("FLOWGATE_CLOCK_OFFSET_SECONDS", ahead.to_string()),
            ("FLOWGATE_LOG", "info".to_owned()),
        ];
        let own = own.into_iter().chain(clock.environment(library));
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let environment: Vec<_> = environment.into_iter().collect();
        let child = Self::spawn(name, folder, &environment);
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            environment,
            child: Mutex::new(child),
            clock,
            busy: AtomicBool::new(false),
            starts: AtomicUsize::new(1),
        }
    }

    fn spawn(name: &str, folder: &Path, environment: &[(String, String)]) -> Child {
        let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log"))).unwrap();
        Command::new(binary("worker"))
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// kill -9, and another one takes its place.
    pub fn replace(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        *child = Self::spawn(&self.name, &self.folder, &self.environment);
        self.starts.fetch_add(1, SeqCst);
    }

    /// kill -9 for good.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends a signal such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.child.lock().unwrap().id(), name);
    }

    /// Whether it ended by itself, which no worker should.
    pub fn has_ended(&self) -> bool {
        !matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
