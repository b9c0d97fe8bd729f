//! The real program as a process of its own: killed in the middle of a run, and started again.

use crate::wait;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tests::Api;
use tests::stalled::Stalled;

pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("flowgate");
    assert!(path.exists(), "{} is not built: cargo build -p flowgate", path.display());
    path
}

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
    /// What it printed until it was ready.
    pub(crate) said: Vec<String>,
}

impl Process {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(arguments)
            // What is freed is given back, so that the most memory that it had is what it held.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = vec![];
        while said.last().is_none_or(|line| line != "Ctrl-C stops it.") {
            said.push(lines.next().expect("the program says where it listens").unwrap());
        }
        let url = said.iter().find_map(|line| line.trim().strip_prefix("API ")).unwrap();
        let url = url.trim().trim_end_matches("/api/v1").to_owned();
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, said }
    }

    /// What Ctrl-C does, and what the process answers to it.
    async fn interrupt(&mut self) -> ExitStatus {
        self.signal("-INT");
        let mut ended = None;
        wait("the process ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    /// SIGSTOP, once it has reached all threads: one after the other hears of it.
    pub(crate) async fn pause(&self) {
        self.signal("-STOP");
        wait("the process is stopped", async || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            let mut states = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")));
            states.all(|status| status.is_ok_and(|status| status.contains("State:\tT")))
        })
        .await;
    }

    /// Sends a signal such as `-CONT`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn token(data: &Path) -> String {
    let output = Command::new(program()).args(["token", "--role", "editor", "--data-dir"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
}

fn numbers(path: &Path, rows: u32) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    writeln!(file, "n,text").unwrap();
    for n in 0..rows {
        writeln!(file, "{n},some text that makes the row longer {n}").unwrap();
    }
}

#[tokio::test]
async fn a_stack_killed_in_the_middle_of_a_run_ends_it_after_a_restart_with_each_row_once() {
    const ROWS: u32 = 1_500_000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    numbers(&data.join("numbers.csv"), ROWS);
    let mut stack = Process::start(&data);
    let token = token(&data);
    let api = Api::new(&stack.url, &token);
    let connector = json!({"name": "n", "type": "local_fs", "config": {"path": "numbers.csv"}});
    let connector = api.create("/connectors", &connector).await;
    let fields = json!([{"name": "n", "dataType": "bigint"}, {"name": "text", "dataType": "text"}]);
    let schema = api.create("/schemas", &json!({"name": "numbers", "fields": fields})).await;
    // A sort reads everything before it gives anything, so that there is time to be killed in.
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "o", "nodeType": "sort", "config": {"by": [{"field": "text", "direction": "desc"}]}},
        {"id": "t", "nodeType": "target", "config": {}},
    ]);
    let edges = json!([{"source": "s", "target": "o"}, {"source": "o", "target": "t"}]);
    let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    let pipeline = api.create("/pipelines", &body).await;
    let run = api.run(&pipeline, json!({})).await;
    let path = format!("/pipelines/{pipeline}/runs/{run}");
    wait("the run runs", async || api.get(&path).await.json()["status"] == "running").await;
    stack.kill_and_restart(&data);
    let api = Api::new(&stack.url, &token);
    let ended = api.finished(&pipeline, &run).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(ended["attempt"].as_u64().unwrap() >= 2, "the kill came too late: {ended}");
    assert_eq!((&ended["rowsIn"], &ended["rowsOut"]), (&json!(ROWS), &json!(ROWS)));
    let page = api.get(&format!("/schemas/{schema}/data?limit=1&includeTotal=true")).await.expect(200).json();
    assert_eq!(page["pagination"]["total"], ROWS);
    stack.kill();
}

impl Process {
    pub(crate) fn kill_and_restart(&mut self, data: &Path) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        *self = Self::start(data);
    }
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_a_run_gives_it_back_and_after_a_restart_it_writes_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut stack = Process::start_with(&data, &["--grace", "1"]);
    let token = token(&data);
    let api = Api::new(&stack.url, &token);
    let stalled = Stalled::start(&api, folder.path(), &data.join("lake/default"), json!({})).await;
    let ended = stack.interrupt().await;
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_eq!(stalled.files(), Vec::<PathBuf>::new(), "it takes back what it staged");
    stalled.s3.release();
    let restarted = std::time::Instant::now();
    let stack = Process::start(&data);
    let api = Api::new(&stack.url, &token);
    let run = api.finished(&stalled.pipeline, &stalled.run).await;
    assert_eq!((&run["status"], &run["attempt"]), (&json!("completed"), &json!(2)), "{run}");
    assert_eq!((&run["rowsIn"], &run["rowsOut"]), (&json!(Stalled::ROWS), &json!(Stalled::ROWS)), "{run}");
    let page = api.get(&format!("/schemas/{}/data?limit=1&includeTotal=true", stalled.schema)).await.expect(200).json();
    assert_eq!(page["pagination"]["total"], Stalled::ROWS);
    // Whoever gives a run back lets nobody wait for the end of a lease.
    assert!(restarted.elapsed().as_secs() < 15, "it went on only after {:?}", restarted.elapsed());
    stack.kill();
}

#[tokio::test]
async fn what_is_kept_survives_and_a_second_stack_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = Process::start(folder.path());
    let token = token(folder.path());
    let schema = json!({"name": "s", "fields": [{"name": "a", "dataType": "text"}]});
    let id = Api::new(&stack.url, &token).create("/schemas", &schema).await;
    let second = Command::new(program())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&stack.child.id().to_string()), "it does not name the process: {said}");
    stack.kill_and_restart(folder.path());
    Api::new(&stack.url, &token).get(&format!("/schemas/{id}")).await.expect(200);
}

#[test]
fn a_demo_in_a_folder_stays_there_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program()).args(["demo", "--data-dir"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let lake = said.split("The Delta table lies in ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(Path::new(lake).join("_delta_log").is_dir(), "{said}");
    assert!(said.contains(&format!("{} serve --data-dir", program().display())), "{said}");
}
