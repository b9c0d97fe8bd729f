//! The visible rules of the house: who may know what, and where things lie.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says by them what it waited for")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A source file, by its path from the top.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// What is compiled outside of tests, without comments; the lines keep their numbers.
    fn code(&self) -> String {
        let mut in_tests = false;
        let lines = self.text.lines().map(|line| {
            // rustfmt puts a module's end where its beginning stands.
            in_tests |= line == "mod tests {";
            let is_code = !in_tests && !line.trim_start().starts_with("//");
            in_tests &= line != "}";
            if is_code { line } else { "" }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.split('/').any(|part| part == "tests.rs" || part == "tests")
    }
}

/// All Rust files below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let path = path.strip_prefix(root()).expect("below the top").to_str().expect("UTF-8").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    let mut found = vec![];
    for folder in folders {
        walk(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no Rust files in {folders:?}");
    found
}

/// `path:line` of each line of code in `sources` that holds one of `words`.
fn places(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut found = vec![];
    for source in sources {
        for (line, text) in source.code().lines().enumerate() {
            if let Some(word) = words.iter().find(|word| text.contains(**word)) {
                found.push(format!("{}:{} ({word})", source.path, line + 1));
            }
        }
    }
    found
}

fn metadata() -> Metadata {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc -vV");
    let version = String::from_utf8(version.stdout).expect("UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        // Without it, crates of other systems would have to be downloaded.
        .other_options(vec!["--locked".to_owned(), "--filter-platform".to_owned(), host.to_owned()])
        .exec()
        .expect("cargo metadata")
}

fn is_engine(name: &str) -> bool {
    let family = |prefix: &str| name == prefix || name.starts_with(&format!("{prefix}-"));
    ["datafusion", "arrow", "parquet", "deltalake", "object_store"].into_iter().any(family)
}

#[test]
fn only_the_worker_declares_the_engine() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        // The tests look into the tables that the worker writes.
        if ["worker", "tests"].contains(&package.name.as_str()) {
            continue;
        }
        let declared: Vec<_> = package.dependencies.iter().map(|d| &d.name).filter(|name| is_engine(name)).collect();
        assert!(declared.is_empty(), "{} declares {declared:?}: only functions/worker knows the engine", package.name);
    }
}

#[test]
fn no_function_but_the_worker_carries_the_engine() {
    let metadata = metadata();
    let names: HashMap<&PackageId, &str> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let nodes = &metadata.resolve.as_ref().expect("a resolved graph").nodes;
    let needs: HashMap<&PackageId, Vec<&PackageId>> = nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
            (&node.id, normal.map(|d| &d.pkg).collect())
        })
        .collect();
    let mut carriers = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![&package.id]);
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&needs[id]);
            }
        }
        if seen.iter().any(|id| is_engine(names[id])) {
            carriers.insert(package.name.to_string());
        }
    }
    assert_eq!(carriers, ["flowgate", "tests", "worker"].map(str::to_owned).into(), "packages that link the engine");
}

/// `package features` of all that these arguments of cargo compile for this machine, without the workspace's own.
fn compiled(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    lines.filter(|line| !line.contains(&*root().to_string_lossy()) && !line.is_empty()).collect()
}

#[test]
fn what_cargo_run_has_compiled_cargo_test_need_not_compile_again() {
    let run = compiled(&["--package", "flowgate", "--edges", "normal,build"]);
    let test = compiled(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(run.len() > 300, "only {} packages were found", run.len());
    let other: Vec<_> = run.difference(&test).collect();
    assert!(
        other.is_empty(),
        "with other features for `cargo run` than for `cargo test --workspace`, so that they and all above them are \
         compiled twice; name the missing features in functions/worker/Cargo.toml: {other:#?}"
    );
}

#[test]
fn a_handler_sees_neither_lambda_nor_the_aws_sdks() {
    // The worker's own handlers, of what it answers within a request, are held to it too.
    let own = ["answer.rs", "trial.rs", "rollback.rs"].map(|name| format!("functions/worker/src/{name}"));
    let handlers: Vec<Source> = sources(&["functions"])
        .into_iter()
        .filter(|s| !s.path.starts_with("functions/worker/") || own.contains(&s.path))
        .collect();
    let found = handlers.iter().filter(|s| own.contains(&s.path)).count();
    assert_eq!(found, own.len(), "the worker's handlers lie elsewhere");
    let seen = places(&handlers, &["lambda_http", "lambda_runtime", "aws_sdk", "aws_config", "aws_smithy"]);
    assert!(seen.is_empty(), "{seen:#?}");
    for package in metadata().workspace_packages() {
        let is_function = package.manifest_path.as_str().contains("/functions/") && package.name.as_str() != "worker";
        let aws =
            package.dependencies.iter().map(|d| &d.name).filter(|n| n.starts_with("aws") || n.starts_with("lambda"));
        assert!(!is_function || aws.clone().count() == 0, "{} declares {:?}", package.name, aws.collect::<Vec<_>>());
    }
}

#[test]
fn the_main_of_a_function_is_one_call() {
    for source in sources(&["functions"]) {
        let parts: Vec<&str> = source.path.split('/').collect();
        if parts[3..] == ["main.rs"] && parts[1] != "worker" {
            let lines = source.text.lines().count();
            assert!(lines < 10, "{} has {lines} lines", source.path);
        }
    }
}

/// The source without the calls of what is ours and named `from_env`: it asks config.rs.
fn without_own_from_env(source: Source) -> Source {
    let own = ["Config::from_env(", "start::from_env(", "from_env(services"];
    let text = own.into_iter().fold(source.text, |text, name| text.replace(name, ""));
    Source { path: source.path, text }
}

#[test]
fn the_environment_is_read_in_one_file() {
    let others: Vec<Source> = sources(&["shared", "functions", "infra"])
        .into_iter()
        .filter(|s| s.path != "shared/src/config.rs" && !s.is_test())
        .collect();
    // `env = "` is how an argument of the command line names one.
    let seen = places(&others, &["env::var", "env::vars", "option_env!", "env = \""]);
    assert!(seen.is_empty(), "environment variables are read in shared/src/config.rs, not in {seen:#?}");
    let seen = places(&others.into_iter().map(without_own_from_env).collect::<Vec<_>>(), &["from_env("]);
    let [s3] = seen.as_slice() else { panic!("only AWS's own variables are read elsewhere, at one place: {seen:#?}") };
    assert!(s3.starts_with("functions/worker/src/sources/s3.rs:"), "AWS's own variables are read in {s3}");
    let config = sources(&["shared"]).into_iter().find(|s| s.path == "shared/src/config.rs");
    assert!(!places(&config.into_iter().collect::<Vec<_>>(), &["env::var"]).is_empty(), "config.rs reads it");
}

#[test]
fn the_time_comes_from_the_clock() {
    let others: Vec<Source> = sources(&["shared", "functions", "infra"])
        .into_iter()
        .filter(|s| s.path != "shared/src/clock.rs" && !s.is_test())
        .collect();
    let seen = places(&others, &["Utc::now", "Local::now", "SystemTime::now", "now_v7"]);
    assert!(seen.is_empty(), "the time comes from shared::clock::Clock, not from {seen:#?}");
}

#[test]
fn keys_of_the_table_are_made_in_one_file() {
    let others: Vec<Source> = sources(&["shared", "functions", "infra"])
        .into_iter()
        .filter(|s| s.path != "shared/src/store/keys.rs" && !s.is_test())
        .collect();
    // The starts of partition and sort keys.
    let starts = [
        "\"T#",
        "\"V#",
        "\"F#",
        "\"R#",
        "\"L#",
        "\"E#",
        "\"I#",
        "\"DUE#",
        "\"RUN#",
        "\"RECEIPT",
        "\"IDEM\"",
        "\"TOMBSTONE",
        "\"REST\"",
        "\"SHARDS\"",
        "#PIPELINE",
        "#STATE",
        "#NAME#",
        "#USES#",
        "#IDEM#",
    ];
    let seen = places(&others, &starts);
    assert!(seen.is_empty(), "keys are made in shared/src/store/keys.rs, not in {seen:#?}");
    let keys = sources(&["shared"]).into_iter().find(|s| s.path == "shared/src/store/keys.rs").expect("keys.rs");
    assert!(keys.text.starts_with("//!") && keys.text.contains("| GetItem `T#"), "it begins with its access patterns");
    let scans = places(&sources(&["shared", "functions"]), &[".scan()", "\"Scan\""]);
    let scans: Vec<_> = scans.into_iter().filter(|p| !p.starts_with("functions/worker/")).collect();
    assert!(scans.is_empty(), "nothing scans the table: {scans:#?}");
}

#[test]
fn an_error_meets_its_status_in_one_file() {
    let others: Vec<Source> = sources(&["shared", "functions"])
        .into_iter()
        // What other people's APIs answer is read there.
        .filter(|s| !["shared/src/http/problem.rs", "functions/worker/src/sources/rest/api.rs"].contains(&&*s.path))
        .filter(|s| !s.is_test())
        .collect();
    let refusals = [
        "StatusCode::BAD_REQUEST",
        "StatusCode::UNAUTHORIZED",
        "StatusCode::FORBIDDEN",
        "StatusCode::NOT_FOUND",
        "StatusCode::METHOD_NOT_ALLOWED",
        "StatusCode::CONFLICT",
        "StatusCode::PRECONDITION_FAILED",
        "StatusCode::PAYLOAD_TOO_LARGE",
        "StatusCode::UNSUPPORTED_MEDIA_TYPE",
        "StatusCode::UNPROCESSABLE_ENTITY",
        "StatusCode::TOO_MANY_REQUESTS",
        "StatusCode::INTERNAL_SERVER_ERROR",
        "StatusCode::SERVICE_UNAVAILABLE",
    ];
    let seen = places(&others, &refusals);
    assert!(seen.is_empty(), "an error gets its status in shared/src/http/problem.rs, not in {seen:#?}");
}

#[test]
fn the_words_for_why_a_run_failed_are_those_of_the_document() {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let schemas = shared::check::schemas();
    let text = schemas["RunFailure"]["properties"]["code"]["description"].as_str().expect("a description");
    let told: BTreeSet<String> =
        text.split('`').skip(1).step_by(2).filter(|word| is_word(word)).map(str::to_owned).collect();
    let mut given = BTreeSet::from([shared::models::run::DELIVERED_TOO_OFTEN.to_owned()]);
    for source in sources(&["shared", "functions"]).iter().filter(|s| !s.is_test()) {
        let of_kinds = source.path == "functions/worker/src/error.rs";
        let (before, behind) = if of_kinds { ("=> \"", "\",") } else { ("code: \"", "\".to_owned()") };
        let code = source.code();
        let words = code.lines().filter_map(|line| line.split_once(before)?.1.split_once(behind));
        given.extend(words.map(|(word, _)| word.to_owned()).filter(|word| is_word(word)));
    }
    assert_eq!(told, given, "the description of RunFailure::code (left), and the code (right)");
}

#[test]
fn the_top_level_is_what_was_agreed() {
    let agreed: BTreeSet<&str> = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "functions",
        "infra",
        "samconfig.toml",
        "shared",
        "template.yaml",
        "tests",
    ]
    .into();
    // Where cargo builds, and what the README's commands leave.
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("readable");
    let found: BTreeSet<String> = fs::read_dir(root())
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| !name.starts_with('.') && !ignored.lines().any(|line| line.trim_start_matches('/') == name))
        .collect();
    assert!(found.iter().map(String::as_str).eq(agreed.iter().copied()), "found {found:#?}\nagreed {agreed:#?}");
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |source: &Source| {
        let first = source.text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").unwrap_or_default().len() <= 10
    };
    let silent: Vec<String> =
        sources(&["shared", "functions", "infra", "tests"]).into_iter().filter(silent).map(|s| s.path).collect();
    assert!(silent.is_empty(), "these do not begin with `//! ` and a sentence: {silent:#?}");
}

#[test]
fn nothing_is_called_by_what_it_does_not_say() {
    for source in sources(&["shared", "functions", "infra", "tests"]) {
        let vague = source.path.split(['/', '.']).find(|part| ["utils", "util", "common", "helpers"].contains(part));
        assert_eq!(vague, None, "{}", source.path);
    }
}

#[test]
fn the_rules_can_be_broken() {
    let bad = Source {
        path: "shared/src/bad.rs".to_owned(),
        text: "//! Bad.
// Utc::now in a comment
#[cfg(test)]
mod tests;
let t = Utc::now();
#[cfg(test)]
mod tests {
    fn f() {
        Utc::now();
    }
}
let t = Utc::now();
"
        .to_owned(),
    };
    assert_eq!(places(&[bad], &["Utc::now"]), ["shared/src/bad.rs:5 (Utc::now)", "shared/src/bad.rs:12 (Utc::now)"]);
    let both = Source {
        path: "shared/src/both.rs".to_owned(),
        text: "let own = Config::from_env()?;\nlet other = Builder::from_env();\n".to_owned(),
    };
    assert_eq!(places(&[without_own_from_env(both)], &["from_env("]), ["shared/src/both.rs:2 (from_env()"]);
    assert!(is_engine("arrow-schema") && is_engine("datafusion") && !is_engine("arrowhead"));
}
