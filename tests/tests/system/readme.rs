//! What README.md tells to type, typed; and what the program says to type next.

use crate::processes::{Process, program};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tests::{Api, servers};

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap()
}

/// The lines of the block between `<!-- name -->` and `<!-- /name -->`.
fn block(name: &str) -> Vec<String> {
    let text = readme();
    let rest = text.split(&format!("<!-- {name} -->\n")).nth(1).unwrap_or_else(|| panic!("no block {name}"));
    let inside = rest.split(&format!("<!-- /{name} -->")).next().unwrap();
    inside.lines().filter(|line| !line.starts_with("```")).map(str::to_owned).collect()
}

/// Runs lines in one shell, as they are but for the program and its port; answers what each has printed.
fn typed(lines: &[String], folder: &Path, url: &str) -> Vec<String> {
    // Printed after each line; no answer has it.
    const END: &str = "-- end of line --";
    let script: String = lines
        .iter()
        .map(|line| line.replace("cargo run --quiet --", &program().display().to_string()))
        .map(|line| format!("{}\necho '{END}'\n", line.replace("http://127.0.0.1:3000", url)))
        .collect();
    let output = shell(&script, folder);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said.split(END).map(|text| text.trim().to_owned()).take(lines.len()).collect()
}

/// Whether there is what is typed with.
fn can_type() -> bool {
    let programs = ["bash", "curl", "timeout"];
    programs.iter().all(|program| servers::has(program, "what README.md, and the program itself, tell to type"))
}

/// What a script does, for a minute at most.
fn shell(script: &str, folder: &Path) -> Output {
    let mut shell = Command::new("timeout");
    shell.args(["60", "bash", "-e", "-c", script]).current_dir(folder).env_remove("FLOWGATE_JWT_SECRET");
    shell.output().expect("there is what is typed with")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn the_sessions_of_the_readme_do_what_it_says() {
    if !can_type() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stack = Process::start(&folder.path().join("flowgate-data"));
    let session = block("session");
    let started = session.iter().position(|line| line.starts_with("RUN=")).expect("a line that starts a run");
    let mut lines = session[..=started].to_vec();
    // Who reads is slower than the run; this shell is not.
    lines
        .push("until api $API/pipelines/$PIPELINE/runs/$RUN | grep -q '\"status\":\"completed'; do :; done".to_owned());
    let reads = lines.len();
    lines.extend_from_slice(&session[started + 1..]);
    let checks = lines.len();
    lines.extend(block("check"));
    let receipts = lines.len();
    lines.extend(block("receipts"));
    let said = typed(&lines, folder.path(), &stack.url);

    let run = json(&said[reads]);
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    let rows = ["rowsIn", "rowsOut", "failedRows"].map(|name| run[name].as_u64());
    assert_eq!(rows, [Some(3), Some(2), Some(1)], "{run}");
    assert_eq!(json(&said[reads + 1])["status"], "completed_with_errors");
    let rejected = said[reads + 2].lines().nth(1).unwrap_or_default().to_owned();
    for part in ["3", "age", "none", "not an integer"] {
        assert!(rejected.contains(part), "row, column, value and reason: {rejected}");
    }
    let names: Vec<Value> =
        json(&said[reads + 3])["data"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, ["Ada", "Grace"]);

    assert_eq!(json(&said[checks])["valid"], true, "{}", said[checks]);
    let refused = json(&said[checks + 1]);
    assert_eq!(refused["status"], 400, "{refused}");
    assert!(said[checks + 1].contains("idd"), "{refused}");
    assert!(said[checks + 2].contains("Grace"), "{}", said[checks + 2]);
    for (line, known) in [(checks + 3, "aggregate"), (checks + 4, "postgresql")] {
        assert!(said[line].contains(known), "{}", said[line]);
    }
    // Whoever follows the sentence below it sees what it says.
    let corrected = lines[checks + 1].replace("[\"idd\"]", "[\"id\"]");
    assert_ne!(corrected, lines[checks + 1]);
    let again = [lines[..2].to_vec(), vec![lines[2].clone(), pipeline_of(&run), corrected]].concat();
    let answer = json(typed(&again, folder.path(), &stack.url).last().unwrap());
    assert_eq!(answer["valid"], false, "{answer}");
    let fault = &answer["faults"][0];
    assert_eq!(fault["pointer"], "/nodes/1/config/condition", "{answer}");
    assert!(
        fault["detail"].as_str().unwrap().contains("there is no column \"agee\"; did you mean \"age\"?"),
        "{fault}"
    );

    assert!(!said[receipts + 1].is_empty(), "each check is a line");
    stack.kill();
}

fn pipeline_of(run: &Value) -> String {
    format!("PIPELINE={}", run["pipelineId"].as_str().unwrap())
}

/// A line with what differs from run to run taken out: ids, ports, times, folders, and how the program is called.
fn plain(line: &str) -> String {
    let line = line.replace(&program().display().to_string(), "target/debug/flowgate");
    let mut words: Vec<String> = vec![];
    for word in line.split_whitespace() {
        let id = ["conn_", "schema_", "pipe_", "run_"].into_iter().find(|prefix| word.starts_with(prefix));
        let word = match id {
            Some(prefix) => prefix.to_owned(),
            None if word.starts_with("http://127.0.0.1:") => "http://127.0.0.1:".to_owned(),
            None if word.contains("/flowgate-demo-") => "FOLDER".to_owned(),
            None => word.to_owned(),
        };
        if word == "ms" || word.starts_with("ms:") {
            words.pop();
        }
        words.push(word);
    }
    words.join(" ")
}

#[test]
fn the_demo_prints_what_the_readme_shows() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program()).arg("demo").env("TMPDIR", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let shown: Vec<String> = block("demo").iter().map(|line| plain(line)).collect();
    let printed: Vec<String> = said.lines().map(plain).collect();
    assert_eq!(printed, shown, "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut demo =
        Command::new(program()).arg("demo").env("TMPDIR", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    assert!(ready.contains("is ready"), "{ready}");
    assert!(Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    lines.for_each(drop);
    let ended = demo.wait().unwrap();
    assert!(ended.code().is_some(), "it ends by itself: {ended}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_stack_says_where_it_is_and_a_command_that_works() {
    if !can_type() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stack = Process::start(folder.path());
    let said = stack.said.join("\n");
    let line = |start: &str| {
        let line = stack.said.iter().find_map(|line| line.trim().strip_prefix(start));
        line.unwrap_or_else(|| panic!("no line with {start:?}: {said}")).trim().to_owned()
    };
    assert_eq!(line("API "), format!("{}/api/v1", stack.url));
    let real = folder.path().canonicalize().unwrap();
    assert_eq!(line("data "), real.display().to_string());
    assert_eq!(line("tables "), real.join("lake").display().to_string());
    assert!(line("token ").contains(&format!("`{} token --help`", program().display())), "{said}");
    let script = format!("export {}\ncurl {}", line("export "), line("curl "));
    let output = shell(&script, folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&String::from_utf8_lossy(&output.stdout))["data"], serde_json::json!([]));
    stack.kill();
}

/// What `token` prints with these arguments, and the claims in it.
fn token(arguments: &[&str], secret: Option<&str>) -> (String, Value) {
    let mut command = Command::new(program());
    command.arg("token").args(arguments).env_remove("FLOWGATE_JWT_SECRET");
    let output = command.envs(secret.map(|secret| ("FLOWGATE_JWT_SECRET", secret))).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    // Who has set it long ago would wonder why a local stack refuses the token.
    assert_eq!(told.contains("FLOWGATE_JWT_SECRET"), secret.is_some(), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(said.trim()).unwrap().claims;
    (said, claims)
}

#[test]
fn a_token_stands_alone_on_its_line_and_lives_as_long_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let (said, claims) = token(&["--role", "viewer", "--tenant", "acme", "--ttl", "90s", "--data-dir", &data], None);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 90);
    assert_eq!((&claims["role"], &claims["tenantId"]), (&"viewer".into(), &"acme".into()));
}

#[test]
fn a_token_for_a_deployment_is_signed_with_its_secret() {
    use shared::config::TokenConfig;
    let secret = "a secret of at least thirty-two characters";
    let (said, _) = token(&["--tenant", "acme"], Some(secret));
    let config =
        TokenConfig { algorithms: vec!["HS256".to_owned()], secret: Some(secret.to_owned()), ..TokenConfig::default() };
    let verifier = shared::token::Verifier::from_config(&config).unwrap();
    let now = shared::clock::Clock::default().now();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let claims = runtime.block_on(verifier.verify(Some(&format!("Bearer {}", said.trim())), now)).unwrap();
    assert_eq!(claims.tenant.as_deref(), Some("acme"));
}

#[tokio::test]
async fn a_token_by_a_secret_that_no_stack_has_used_says_so_and_holds_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let token = || {
        let mut command = Command::new(program());
        command.args(["token", "--data-dir"]).arg(&data).env_remove("FLOWGATE_JWT_SECRET");
        let output = command.output().unwrap();
        let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(said.lines().count(), 1, "{said}{told}");
        (said.trim().to_owned(), told)
    };
    let (first, told) = token();
    let unused = format!("no stack has used the secret in {} yet", data.canonicalize().unwrap().display());
    assert!(told.contains(&format!("{unused}, which was made just now: a stack")), "{told}");
    assert!(token().1.contains(&format!("{unused}: a stack that runs with another --data-dir refuses this token")));
    let stack = Process::start(&data);
    Api::new(&stack.url, &first).get("/pipelines").await.expect(200);
    let (_, told) = token();
    assert!(!told.contains("no stack"), "{told}");
    stack.kill();
}
