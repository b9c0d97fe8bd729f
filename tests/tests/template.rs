//! template.yaml against the rest: folders, binaries, routes, environment, rights, and what AWS's linters say.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says by them what it waited for")]

mod deployed;
mod python;

use deployed::{actions, entries, functions, lambdas, read, root, statements, template, texts};
use python::Tools;
use serde_yaml_ng::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn folders() -> BTreeSet<String> {
    fs::read_dir(root().join("functions"))
        .expect("there is functions/")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| !name.starts_with('.'))
        .collect()
}

#[test]
fn a_folder_is_a_package_a_binary_and_a_resource() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let mut deployed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in functions() {
        let new = deployed.entry(function.folder.clone()).or_default().insert(function.binary.clone());
        assert!(new, "{} of functions/{} is deployed twice", function.binary, function.folder);
    }
    let mut built: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
        let Ok(folder) = folder.strip_prefix(metadata.workspace_root.join("functions")) else {
            continue;
        };
        assert_eq!(package.name.as_str(), folder.as_str(), "a package has the name of its folder");
        let binaries = package.targets.iter().filter(|t| t.is_bin()).map(|t| t.name.clone()).collect();
        built.insert(folder.to_string(), binaries);
    }
    assert_eq!(built.keys().cloned().collect::<BTreeSet<_>>(), folders(), "packages and folders");
    assert_eq!(deployed, built, "what template.yaml deploys (left) and what cargo builds (right)");
    for (folder, binaries) in built {
        let expected: BTreeSet<String> = match folder.as_str() {
            "worker" => ["worker".to_owned(), "worker_http".to_owned()].into(),
            other => [other.to_owned()].into(),
        };
        assert_eq!(binaries, expected, "functions/{folder}");
    }
}

#[test]
fn every_function_runs_on_what_it_is_built_for() {
    let globals = template("template.yaml")["Globals"]["Function"].clone();
    assert_eq!(texts(&globals["Architectures"]), ["arm64"]);
    for function in lambdas() {
        let (name, of) = (&function.resource, &function.properties);
        let own = |key: &str| of[key].as_u64().unwrap_or_else(|| panic!("{name} has no {key} of its own"));
        assert!((128..=3008).contains(&own("MemorySize")), "{name}: MemorySize {}", own("MemorySize"));
        // API Gateway waits for 30 s and no longer.
        assert!((1..=30).contains(&own("Timeout")), "{name}: Timeout {}", own("Timeout"));
        assert!(of["Architectures"].is_null(), "{name} has an architecture of its own");
        if function.folder == "worker" {
            assert_eq!(of["PackageType"], "Image", "{name}");
            assert_eq!(texts(&of["ImageConfig"]["EntryPoint"]), [format!("/usr/local/bin/{}", function.binary)]);
            assert_eq!(function.metadata["DockerContext"], ".", "{name} is built from the whole workspace");
        } else {
            assert_eq!(of["Runtime"], "provided.al2023", "{name}");
            assert_eq!(of["Handler"], "bootstrap", "{name}");
            assert_eq!(function.metadata["BuildMethod"], "rust-cargolambda", "{name}");
        }
    }
}

#[test]
fn every_route_has_its_function_and_every_function_its_route() {
    let mut deployed = BTreeMap::new();
    for function in lambdas() {
        for (event, event_of) in entries(&function.properties["Events"]) {
            if event_of["Type"] != "HttpApi" {
                continue;
            }
            let of = &event_of["Properties"];
            assert_eq!(of["ApiId"], "Api", "{} {event} hangs at an API of its own", function.resource);
            let key = match (of["Method"].as_str(), of["Path"].as_str()) {
                (Some(method), Some(path)) => format!("{method} {path}"),
                (None, None) => "$default".to_owned(),
                _ => panic!("{} {event} has half a route", function.resource),
            };
            let other = deployed.insert(key.clone(), function.binary.clone());
            assert_eq!(other, None, "{key} has two functions");
        }
    }
    let mut known: BTreeMap<String, String> = shared::http::routes::ROUTES
        .iter()
        .map(|(method, path, action)| {
            let function = match action.name() {
                // What needs the engine at once is answered by the worker's image.
                "test_connector" | "list_schema_rows" | "validate_pipeline" | "preview_pipeline" | "rollback_run" => {
                    "worker_http"
                }
                own => own,
            };
            (format!("{method} {path}"), function.to_owned())
        })
        .collect();
    known.insert("$default".to_owned(), "not_found".to_owned());
    assert_eq!(deployed, known, "template.yaml (left) and shared/src/http/routes.rs (right)");
}

#[test]
fn every_function_has_a_log_that_is_forgotten_in_time() {
    let template = template("template.yaml");
    for function in lambdas() {
        let log = function.properties["LoggingConfig"]["LogGroup"].as_str();
        let log = log.unwrap_or_else(|| panic!("{} has no log group of its own", function.resource));
        let group = &template["Resources"][log];
        assert_eq!(group["Type"], "AWS::Logs::LogGroup", "{log}");
        let name = group["Properties"]["LogGroupName"].as_str().unwrap_or_default();
        assert!(name.ends_with(&format!("/{}", function.binary)), "{} logs to {name}", function.resource);
    }
    for path in ["template.yaml", "infra/worker.yaml"] {
        for (name, resource) in entries(&self::template(path)["Resources"]) {
            if resource["Type"] == "AWS::Logs::LogGroup" {
                assert_eq!(resource["Properties"]["RetentionInDays"], "LogRetentionDays", "{path}: {name}");
            }
        }
    }
}

#[test]
fn nobody_may_more_than_it_needs() {
    let worker = template("infra/worker.yaml")["Resources"]["TaskRole"]["Properties"]["Policies"].clone();
    let all = lambdas().into_iter().map(|f| (f.resource, statements(&f.properties["Policies"])));
    for (who, statements) in all.chain([("the worker's task".to_owned(), statements(&worker))]) {
        for (actions, resources) in statements {
            assert!(!actions.is_empty() && !resources.is_empty(), "{who} has an empty statement");
            for action in actions {
                assert!(!action.contains('*') && action != "dynamodb:Scan", "{who} may {action}");
            }
            for resource in resources {
                // A table's item, a bucket's object or a cluster's task, never everything.
                assert!(resource != "*", "{who} may touch everything");
            }
        }
    }
}

#[test]
fn only_the_worker_opens_secrets_and_only_connectors_seal_them() {
    for function in lambdas() {
        let may: BTreeSet<_> = actions(&function).into_iter().filter(|a| a.starts_with("kms:")).collect();
        let expected: &[&str] = match function.binary.as_str() {
            "create_connector" | "update_connector" => &["kms:GenerateDataKey"],
            "worker_http" => &["kms:Decrypt"],
            _ => &[],
        };
        assert!(may.iter().eq(expected.iter()), "{} may {may:?}", function.binary);
        let has_key = !function.properties["Environment"]["Variables"]["FLOWGATE_KMS_KEY_ID"].is_null();
        assert_eq!(has_key, !expected.is_empty(), "{}: the key and the right to use it go together", function.binary);
    }
}

#[test]
fn who_sends_messages_may_send_them() {
    for function in lambdas() {
        let folder = root().join("functions").join(&function.folder).join("src");
        if function.folder == "worker" {
            continue;
        }
        let code: String = sources(&folder).iter().map(|p| fs::read_to_string(p).expect("readable")).collect();
        let code = code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let sends = ["queue.send", "launch::launch(", "launch::send(", "outbox.put("];
        if sends.iter().any(|call| code.contains(call)) {
            assert!(actions(&function).contains("sqs:SendMessage"), "{} sends", function.binary);
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_variable_that_is_set_is_one_that_is_read() {
    let config = read("shared/src/config.rs");
    let mut set: BTreeSet<String> = BTreeSet::new();
    let main = template("template.yaml");
    set.extend(entries(&main["Globals"]["Function"]["Environment"]["Variables"]).into_iter().map(|(name, _)| name));
    for function in lambdas() {
        set.extend(entries(&function.properties["Environment"]["Variables"]).into_iter().map(|(name, _)| name));
    }
    let worker = template("infra/worker.yaml");
    let container = &worker["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0];
    let task = container["Environment"].as_sequence().cloned().unwrap_or_default();
    set.extend(task.iter().filter_map(|v| Some(v["Name"].as_str()?.to_owned())));
    assert!(set.contains("FLOWGATE_TABLE") && set.contains("FLOWGATE_LAKE_URL"), "{set:?}");
    for name in &set {
        assert!(config.contains(&format!("\"{name}\"")), "{name} is set, but shared/src/config.rs does not read it");
    }
}

#[test]
fn the_table_is_the_one_that_the_store_needs_and_cannot_be_lost() {
    let table = template("template.yaml")["Resources"]["Table"].clone();
    let of = &table["Properties"];
    let keys = |schema: &Value| -> Vec<String> {
        schema.as_sequence().into_iter().flatten().flat_map(|k| texts(&k["AttributeName"])).collect()
    };
    assert_eq!(keys(&of["KeySchema"]), ["PK", "SK"]);
    assert_eq!(of["GlobalSecondaryIndexes"].as_sequence().map(Vec::len), Some(1));
    let index = &of["GlobalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], "GSI1");
    assert_eq!(keys(&index["KeySchema"]), ["GSI1PK", "GSI1SK"]);
    assert_eq!(index["Projection"]["ProjectionType"], "KEYS_ONLY");
    assert_eq!(of["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(of["TimeToLiveSpecification"]["AttributeName"], "expiresAt");
    assert_eq!(of["TimeToLiveSpecification"]["Enabled"], true);
    assert_eq!(of["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(of["DeletionProtectionEnabled"], true);
    assert_eq!(table["DeletionPolicy"], "Retain");
}

#[test]
fn a_run_comes_back_in_twenty_seconds_and_is_given_up_after_twenty_times() {
    let template = template("template.yaml");
    let resources = &template["Resources"];
    let runs = &resources["RunsQueue"]["Properties"];
    assert_eq!(runs["VisibilityTimeout"], 20);
    assert_eq!(runs["RedrivePolicy"]["maxReceiveCount"], 20);
    assert_eq!(runs["RedrivePolicy"]["deadLetterTargetArn"], "DeadLetterQueue.Arn");
    let retention = |queue: &str| resources[queue]["Properties"]["MessageRetentionPeriod"].as_u64().unwrap_or_default();
    assert!(retention("DeadLetterQueue") > retention("RunsQueue"), "a message keeps its age when it moves");
    for function in lambdas() {
        for (_, event) in entries(&function.properties["Events"]) {
            if event["Type"] != "SQS" {
                continue;
            }
            let queue = event["Properties"]["Queue"].as_str().unwrap_or_default().trim_end_matches(".Arn");
            let hidden = resources[queue]["Properties"]["VisibilityTimeout"].as_u64().unwrap_or_default();
            let timeout = function.properties["Timeout"].as_u64().unwrap_or_default();
            assert!(
                hidden >= 6 * timeout,
                "{queue} hides a message for {hidden} s, {} works for {timeout} s",
                function.binary
            );
            assert_eq!(texts(&event["Properties"]["FunctionResponseTypes"]), ["ReportBatchItemFailures"]);
        }
    }
    let minute = &resources["OnSchedule"]["Properties"]["Events"]["Minute"];
    assert_eq!(minute["Properties"]["Schedule"], "rate(1 minute)");
}

#[test]
fn all_count_the_same_shards_and_all_shards_are_worked_at_once() {
    let template = template("template.yaml");
    let own = &template["Globals"]["Function"]["Environment"]["Variables"]["FLOWGATE_SHARDS"];
    assert_eq!(texts(own), ["Shards"]);
    assert_eq!(template["Parameters"]["Shards"]["Default"].as_u64(), Some(shared::config::DEFAULT_SHARDS.into()));
    let worker = self::template("infra/worker.yaml");
    let task = &worker["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]["Environment"];
    let shards = task.as_sequence().into_iter().flatten().find(|v| v["Name"] == "FLOWGATE_SHARDS");
    assert_eq!(shards.map(|v| texts(&v["Value"])), Some(vec!["Shards".to_owned()]));
    let shard = &template["Resources"]["OnSchedule"]["Properties"]["Events"]["Shard"]["Properties"];
    assert_eq!(texts(&shard["ScalingConfig"]["MaximumConcurrency"]), ["Shards"]);
}

#[test]
fn there_is_one_event_for_each_function() {
    let known: BTreeSet<String> = lambdas().into_iter().map(|f| format!("{}.json", f.binary)).collect();
    let found: BTreeSet<String> = fs::read_dir(root().join("tests/events"))
        .expect("there is tests/events/")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    assert_eq!(found, known, "tests/events/ (left) and template.yaml (right)");
    for function in lambdas() {
        let path = format!("tests/events/{}.json", function.binary);
        let event: serde_json::Value = serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let routes = entries(&function.properties["Events"]);
        let keys: BTreeSet<String> = routes
            .iter()
            .filter(|(_, e)| e["Type"] == "HttpApi")
            .map(|(_, e)| match (e["Properties"]["Method"].as_str(), e["Properties"]["Path"].as_str()) {
                (Some(method), Some(path)) => format!("{method} {path}"),
                _ => "$default".to_owned(),
            })
            .collect();
        if keys.is_empty() {
            assert!(event["Records"].is_array() || event["source"] == "aws.events", "{path} triggers nothing");
        } else {
            let key = event["routeKey"].as_str().unwrap_or_default();
            assert!(keys.contains(key), "{path} has the route {key:?}, not one of {keys:?}");
            assert_eq!(event["version"], "2.0", "{path}");
            assert_eq!(event["requestContext"]["routeKey"], key, "{path}");
        }
    }
}

#[test]
fn sam_and_cfn_lint_find_nothing() {
    let Some(tools) = Tools::install(&python::AWS, "sam validate --lint and cfn-lint") else {
        return;
    };
    let checks: [(&str, &[&str]); 2] = [
        (
            "cfn-lint",
            &[
                "--non-zero-exit-code",
                "informational",
                "--",
                "template.yaml",
                "infra/worker.yaml",
                "infra/alarms.yaml",
                "infra/dashboard.yaml",
            ],
        ),
        ("sam", &["validate", "--lint", "--template", "template.yaml"]),
    ];
    for (name, arguments) in checks {
        let output = tools.command(name).args(arguments).current_dir(root()).output().expect(name);
        let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{name} {arguments:?}:\n{said}");
    }
}
