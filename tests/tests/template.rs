//! template.yaml against the rest: folders, binaries, routes, environment, rights, and what AWS's linters say.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says by them what it waited for")]

mod deployed;
mod python;

use deployed::{actions, entries, functions, lambdas, read, root, statements, template, texts};
use python::Tools;
use serde_yaml_ng::Value;
use shared::roles::{Access, Action};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

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
    for function in functions() {
        let who = &function.resource;
        for (actions, resources) in statements(&function.policies) {
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
fn only_the_worker_writes_the_lake_and_requests_write_logs_alone() {
    for function in lambdas() {
        let may: BTreeSet<_> = actions(&function).into_iter().filter(|a| a.starts_with("s3:")).collect();
        let expected: &[&str] = match function.binary.as_str() {
            "worker_http" => &["s3:GetObject", "s3:ListBucket", "s3:PutObject"],
            _ => &[],
        };
        assert!(may.iter().eq(expected.iter()), "{} may {may:?}", function.binary);
    }
}

/// What CloudFormation makes of a value where the parameter that it names is `given`.
fn made(value: &Value, given: &str) -> Value {
    let tagged = match value {
        Value::Tagged(tagged) => tagged,
        Value::Sequence(items) => return items.iter().map(|item| made(item, given)).collect(),
        other => return other.clone(),
    };
    let of = made(&tagged.value, given);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    match tagged.tag.to_string().trim_start_matches('!') {
        "Ref" if of == "SourceBucketArns" => Value::from(given),
        "Split" => text(&of[1]).split(&text(&of[0])).map(Value::from).collect(),
        "Join" => Value::from(texts(&of[1]).join(&text(&of[0]))),
        other => panic!("{other} of {of:?}"),
    }
}

#[test]
fn both_workers_and_nobody_else_read_the_buckets_of_sources_and_these_alone() {
    let main: Value = serde_yaml_ng::from_str(&read("template.yaml")).expect("YAML");
    let policy = &main["Resources"]["SourcesPolicy"];
    let may = |given: &str| -> Vec<(Vec<String>, Vec<String>)> {
        let allowed = policy["Properties"]["PolicyDocument"]["Statement"].as_sequence().expect("statements");
        let one = |s: &Value| (texts(&s["Action"]), texts(&made(&s["Resource"], given)));
        allowed.iter().filter(|s| s["Effect"] == "Allow").map(one).collect()
    };
    let expected = |buckets: &[&str]| -> Vec<(Vec<String>, Vec<String>)> {
        let objects = buckets.iter().map(|bucket| format!("{bucket}/*")).collect();
        let buckets = buckets.iter().map(|bucket| (*bucket).to_owned()).collect();
        vec![(vec!["s3:ListBucket".to_owned()], buckets), (vec!["s3:GetObject".to_owned()], objects)]
    };
    assert_eq!(may("arn:aws:s3:::sales"), expected(&["arn:aws:s3:::sales"]));
    let several = ["arn:aws-cn:s3:::sales", "arn:aws-cn:s3:::staff", "arn:aws-cn:s3:::stock"];
    assert_eq!(may(&several.join(",")), expected(&several));

    // There is no such policy where none is named.
    let untagged = template("template.yaml");
    assert_eq!(policy["Condition"], "HasSourceBuckets");
    assert_eq!(texts(&untagged["Conditions"]["HasSourceBuckets"]), ["SourceBucketArns", ""]);
    assert_eq!(untagged["Parameters"]["SourceBucketArns"]["Default"], "");

    let of_sources = |resources: &[String]| resources.iter().any(|resource| resource == "SourceBucketArns");
    let has = |f: &deployed::Function| statements(&f.policies).iter().any(|(_, resources)| of_sources(resources));
    let who: Vec<String> = functions().into_iter().filter(has).map(|f| f.binary).collect();
    assert_eq!(who, ["worker", "worker_http"]);
    let worker = template("infra/worker.yaml");
    assert_eq!(worker["Outputs"]["TaskRoleName"]["Value"], "TaskRole");
    assert_eq!(worker["Outputs"]["TaskRoleArn"]["Value"], "TaskRole.Arn");
    assert_eq!(untagged["Outputs"]["WorkerRoleArn"]["Value"], "Worker.Outputs.TaskRoleArn");
    assert_eq!(untagged["Outputs"]["WorkerHttpRoleArn"]["Value"], "WorkerHttpRole.Arn");
}

#[test]
fn nobody_has_what_sam_would_add_for_queues_and_networks() {
    let template = template("template.yaml");
    for function in lambdas() {
        let polls = entries(&function.properties["Events"]).iter().any(|(_, event)| event["Type"] == "SQS");
        if !polls && function.properties["VpcConfig"].is_null() {
            continue;
        }
        // Without a role of its own it gets AWS's policies, which hold for every queue and network of the account.
        let role = function.properties["Role"].as_str().and_then(|role| role.strip_suffix(".Arn"));
        let role = role.unwrap_or_else(|| panic!("{} has no role of its own", function.resource));
        let managed = texts(&template["Resources"][role]["Properties"]["ManagedPolicyArns"]).join(" ");
        assert!(managed.contains("AWSLambdaBasicExecutionRole"), "{role} may not log: {managed}");
        assert!(!managed.contains("SQS"), "{role}: {managed}");
    }
}

#[test]
fn only_what_checks_tokens_gets_what_checks_them() {
    for function in lambdas() {
        let variables = &function.properties["Environment"]["Variables"];
        let routed = entries(&function.properties["Events"]).iter().any(|(_, event)| event["Type"] == "HttpApi");
        let own = Action::ALL.iter().find(|action| action.name() == function.binary);
        let checks = routed && own.is_none_or(|action| action.access() != Access::Public);
        for name in ["FLOWGATE_JWT_SECRET", "FLOWGATE_JWT_ALGORITHMS", "FLOWGATE_CURSOR_KEY"] {
            // Globals set them, and a function that does without says so.
            let expected = if checks { &Value::Null } else { &Value::from("") };
            assert_eq!(&variables[name], expected, "{}: {name}", function.resource);
        }
    }
}

#[test]
fn what_checks_no_tokens_starts_without_what_checks_them() {
    // Not even where the deployment has an issuer, whose address all get.
    let url = Some("https://id.example/jwks.json".to_owned());
    let tokens = shared::config::TokenConfig { jwks_url: url, ..Default::default() };
    assert!(shared::token::Verifier::from_config(&tokens).is_ok());
}

/// The environment of the worker's task.
fn task_environment() -> BTreeMap<String, Value> {
    let worker = template("infra/worker.yaml");
    let container = &worker["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0];
    let set = container["Environment"].as_sequence().cloned().unwrap_or_default();
    set.into_iter().filter_map(|v| Some((v["Name"].as_str()?.to_owned(), v["Value"].clone()))).collect()
}

/// The variables of a function, its own and those of all.
fn environment(function: &deployed::Function) -> BTreeSet<String> {
    if function.properties.is_null() {
        return task_environment().into_keys().collect();
    }
    let all = template("template.yaml")["Globals"]["Function"].clone();
    let both = [&all, &function.properties].map(|of| entries(&of["Environment"]["Variables"]));
    both.into_iter().flatten().map(|(name, _)| name).collect()
}

#[test]
fn every_variable_that_is_read_is_set_where_it_is_needed() {
    // What the local stack and its command line have for themselves, and what is right as it is where nothing is set.
    let others = [
        "FLOWGATE_DATA_DIR",
        "FLOWGATE_LISTEN",
        "FLOWGATE_GRACE",
        "FLOWGATE_LOCAL_FS",
        "FLOWGATE_FILES_ROOT",
        "FLOWGATE_SECRETS_KEY_FILE",
        "FLOWGATE_SCRATCH",
        "FLOWGATE_LEASE_SECONDS",
        "FLOWGATE_CLOCK_OFFSET_SECONDS",
        "FLOWGATE_LOG",
    ];
    let config = read("shared/src/config.rs");
    let read: BTreeSet<&str> = config.split('"').filter(|text| text.starts_with("FLOWGATE_")).collect();
    let set: BTreeSet<String> = functions().iter().flat_map(environment).collect();
    for name in &read {
        assert_ne!(set.contains(*name), others.contains(name), "{name} is read; is it set in template.yaml?");
    }
    let every = ["FLOWGATE_TABLE", "FLOWGATE_RUNS_QUEUE_URL", "FLOWGATE_SHARDS"];
    let engine = ["FLOWGATE_LAKE_URL", "FLOWGATE_KMS_KEY_ID", "FLOWGATE_HTTP_ALLOWED_HOSTS"];
    for function in functions() {
        let mut needed = every.to_vec();
        match function.binary.as_str() {
            "worker" => {
                needed.extend(engine);
                needed.extend(["FLOWGATE_CONCURRENT_RUNS", "FLOWGATE_MEMORY_MIB"]);
            }
            "on_schedule" => needed.extend([
                "FLOWGATE_TICKS_QUEUE_URL",
                "FLOWGATE_WORKER_CLUSTER",
                "FLOWGATE_WORKER_SERVICE",
                "FLOWGATE_WORKER_MAX",
                "FLOWGATE_CONCURRENT_RUNS",
            ]),
            "on_dead_letter" => {}
            other => {
                needed.extend(config.split('"').filter(|text| text.starts_with("FLOWGATE_JW")));
                needed.extend(["FLOWGATE_CURSOR_KEY", "FLOWGATE_TENANT_CLAIM", "FLOWGATE_ROLE_CLAIM"]);
                needed.extend(engine.into_iter().filter(|_| other == "worker_http"));
            }
        }
        let has = environment(&function);
        let missing: Vec<_> = needed.into_iter().filter(|name| !has.contains(*name)).collect();
        assert!(missing.is_empty(), "{} reads {missing:?}, which nobody sets for it", function.resource);
    }
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
    set.extend(task_environment().into_keys());
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
    assert_eq!(texts(&task_environment()["FLOWGATE_SHARDS"]), ["Shards"]);
    let shard = &template["Resources"]["OnSchedule"]["Properties"]["Events"]["Shard"]["Properties"];
    assert_eq!(texts(&shard["ScalingConfig"]["MaximumConcurrency"]), ["Shards"]);
}

#[test]
fn workers_come_from_none_and_go_without_harm() {
    let (main, worker) = (template("template.yaml"), template("infra/worker.yaml"));
    let resources = &worker["Resources"];
    assert_eq!(resources["Service"]["Properties"]["DesiredCount"], 0);
    let stop = resources["Task"]["Properties"]["ContainerDefinitions"][0]["StopTimeout"].as_u64().expect("seconds");
    // ECS takes 120 s at most.
    assert!((worker::start::GRACE.as_secs() + 1..=120).contains(&stop), "a task is killed after {stop} s");
    let may = functions().into_iter().map(|f| (f.binary.clone(), actions(&f))).collect::<BTreeMap<_, _>>();
    assert!(may["worker"].contains("ecs:UpdateTaskProtection"), "a task with a run in it must be able to say so");
    for action in ["ecs:UpdateService", "sqs:GetQueueAttributes"] {
        assert!(may["on_schedule"].contains(action), "what scales the service may not {action}");
    }
    // Both count the same runs a task.
    let scaled = &main["Resources"]["OnSchedule"]["Properties"]["Environment"]["Variables"]["FLOWGATE_CONCURRENT_RUNS"];
    let parameters = &main["Resources"]["Worker"]["Properties"]["Parameters"];
    assert_eq!((scaled, &parameters["Runs"]), (&Value::from("WorkerRuns"), &Value::from("WorkerRuns")));
    assert_eq!(task_environment()["FLOWGATE_CONCURRENT_RUNS"], "Runs");
}

#[test]
fn a_worker_reaches_any_port_and_nobody_reaches_it() {
    let worker = template("infra/worker.yaml");
    let group = &worker["Resources"]["SecurityGroup"]["Properties"];
    assert!(group["SecurityGroupIngress"].is_null());
    let out = &group["SecurityGroupEgress"];
    assert_eq!(out.as_sequence().map(Vec::len), Some(1));
    // PostgreSQL, MySQL, and buckets and APIs where they are.
    let ports = [&out[0]["FromPort"], &out[0]["ToPort"]].map(Value::as_u64);
    assert_eq!((out[0]["IpProtocol"].as_str(), ports), (Some("tcp"), [Some(0), Some(65_535)]));
    let service = &worker["Resources"]["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"];
    assert_eq!(
        texts(&service["SecurityGroups"]),
        ["HasMoreSecurityGroups", ",", "${SecurityGroup},${MoreSecurityGroupIds}", "SecurityGroup"]
    );
}

#[test]
fn what_tests_a_connector_stands_where_runs_reach_it() {
    let main = template("template.yaml");
    assert_eq!(texts(&main["Conditions"]["WorkersArePrivate"]), ["AssignPublicIp", "DISABLED"]);
    let network = &main["Resources"]["WorkerHttp"]["Properties"]["VpcConfig"];
    assert_eq!((&network[0], &network[2]), (&Value::from("WorkersArePrivate"), &Value::from("AWS::NoValue")));
    assert_eq!(network[1]["SubnetIds"], "SubnetIds");
    assert_eq!(texts(&network[1]["SecurityGroupIds"]), [",", "Worker.Outputs.SecurityGroupIds"]);
    let managed = &main["Resources"]["WorkerHttpRole"]["Properties"]["ManagedPolicyArns"][0];
    assert_eq!(managed[0], "WorkersArePrivate");
    assert!(managed[1].as_str().is_some_and(|arn| arn.ends_with("/AWSLambdaVPCAccessExecutionRole")), "{managed:?}");
}

/// The GiB that Fargate gives beside so many CPU units.
fn fargate(cpu: u64) -> Vec<u64> {
    match cpu {
        1024 => (2..=8).collect(),
        2048 => (4..=16).collect(),
        4096 => (8..=30).collect(),
        8192 => (16..=60).step_by(4).collect(),
        16_384 => (32..=120).step_by(8).collect(),
        _ => vec![],
    }
}

#[test]
fn a_deployment_is_refused_before_it_begins_where_fargate_would_refuse_it() {
    let main = template("template.yaml");
    let numbers = |value: &Value| -> Vec<u64> {
        let items = value.as_sequence().into_iter().flatten();
        items.filter_map(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok())).collect()
    };
    let parameters = &main["Parameters"];
    let allowed = numbers(&parameters["WorkerMemory"]["AllowedValues"]);
    let mut taken = BTreeSet::new();
    for cpu in numbers(&parameters["WorkerCpu"]["AllowedValues"]) {
        let rules = entries(&main["Rules"]);
        let rule = rules.iter().find(|(_, rule)| {
            texts(&rule["RuleCondition"]) == ["WorkerCpu"] && numbers(&rule["RuleCondition"]) == [cpu]
        });
        let (_, rule) = rule.unwrap_or_else(|| panic!("no rule says what memory goes with {cpu} CPU units"));
        let assertion = &rule["Assertions"][0]["Assert"];
        assert_eq!(assertion[1], "WorkerMemory");
        let memories = numbers(&assertion[0]);
        let fit: Vec<u64> = allowed.iter().copied().filter(|memory| fargate(cpu).contains(&(memory / 1024))).collect();
        assert_eq!(memories, fit, "WorkerMemory with a WorkerCpu of {cpu}");
        taken.extend(memories);
    }
    assert!(taken.iter().eq(&allowed), "{allowed:?} can be chosen, {taken:?} has a WorkerCpu");
    let default = |name: &str| parameters[name]["Default"].as_u64().expect("a number");
    assert!(fargate(default("WorkerCpu")).contains(&(default("WorkerMemory") / 1024)));
}

#[test]
fn the_runs_of_a_task_share_half_of_its_memory() {
    let main = template("template.yaml");
    let runs = main["Parameters"]["WorkerRuns"]["AllowedValues"].as_sequence().cloned().unwrap_or_default();
    let memories = main["Parameters"]["WorkerMemory"]["AllowedValues"].as_sequence().cloned().unwrap_or_default();
    for memory in memories.iter().filter_map(Value::as_u64) {
        for runs in runs.iter().filter_map(Value::as_u64) {
            let share = &main["Mappings"]["RunMemory"][memory.to_string().as_str()][runs.to_string().as_str()];
            assert_eq!(share.as_u64(), Some(memory / 2 / runs), "{runs} runs in {memory} MiB");
        }
    }
    let given = &main["Resources"]["Worker"]["Properties"]["Parameters"]["RunMemory"];
    assert_eq!(texts(given), ["RunMemory", "WorkerMemory", "WorkerRuns"]);
    assert_eq!(task_environment()["FLOWGATE_MEMORY_MIB"], "RunMemory");
}

#[test]
fn a_function_lives_to_say_that_the_table_does_not_answer() {
    let call = shared::http::lambda::LONGEST_CALL.as_secs();
    for function in lambdas() {
        let timeout = function.properties["Timeout"].as_u64().unwrap_or_default();
        // What needs the engine makes many calls, and reads and writes tables: it keeps to a time for all of them.
        let longest = if function.folder == "worker" { worker::deadline::LATEST.as_secs() } else { call + 1 };
        if actions(&function).iter().any(|action| action.starts_with("dynamodb:")) {
            assert!(timeout > longest, "{} is ended after {timeout} s, and may need {longest} s", function.binary);
        }
    }
    // It has a main of its own, which must say the same of its calls as that of all others.
    for main in ["functions/worker/src/bin/worker_http.rs", "shared/src/http/lambda.rs"] {
        assert!(read(main).contains("LONGEST_CALL)).await?"), "{main} waits for the table for ever");
    }
}

#[test]
fn alarms_count_what_is_logged() {
    let (main, alarms) = (template("template.yaml"), template("infra/alarms.yaml"));
    let logged = read("shared/src/store/runs/end.rs") + &read("functions/on_dead_letter/src/lib.rs");
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, filter) in entries(&alarms["Resources"]) {
        if filter["Type"] != "AWS::Logs::MetricFilter" {
            continue;
        }
        let of = &filter["Properties"];
        let pattern = of["FilterPattern"].as_str().unwrap_or_default();
        let words = pattern.strip_prefix("{ $.fields.message = ").and_then(|rest| rest.strip_suffix(" }"));
        let words = words.unwrap_or_else(|| panic!("{name:?} looks for {pattern}"));
        assert!(words.len() > 2 && words.starts_with('"') && logged.contains(words), "nothing logs {words}");
        let metric = &of["MetricTransformations"][0];
        let counted = metric["MetricName"].as_str().expect("a name");
        let mut all = entries(&alarms["Resources"]).into_iter().map(|(_, resource)| &resource["Properties"]);
        let alarm =
            all.find(|alarm| alarm["MetricName"] == counted).unwrap_or_else(|| panic!("nobody hears {counted}"));
        assert_eq!(metric["MetricNamespace"], alarm["Namespace"], "{name:?}");
        assert_eq!((&metric["MetricValue"], &alarm["Statistic"]), (&Value::from("1"), &Value::from("Sum")), "{name:?}");
        assert_eq!(alarm["TreatMissingData"], "notBreaching");
        let parameter = of["LogGroupName"].as_str().unwrap_or_default();
        groups
            .entry(counted)
            .or_default()
            .extend(texts(&main["Resources"]["Alarms"]["Properties"]["Parameters"][parameter]));
    }
    // Those of all that give runs up, or drop what asks for a purge.
    assert_eq!(groups["RunsGivenUp"], ["OnDeadLetterLogs", "Worker.Outputs.LogGroup"]);
    assert_eq!(groups["PurgesFailed"], ["OnDeadLetterLogs"]);
    assert_eq!(template("infra/worker.yaml")["Outputs"]["LogGroup"]["Value"], "Logs");
    // A message is a field of its fields only where lines are JSON and these are not flattened.
    let lines = read("shared/src/runtime.rs");
    assert!(lines.contains(".json()") && !lines.contains("flatten_event"), "lines have another form than the pattern");
}

/// All that lies in a folder of Rust files and in those below it.
fn code(folder: &str) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}")) {
        let entry = entry.expect("readable");
        let path = format!("{folder}/{}", entry.file_name().to_str().expect("UTF-8"));
        text += &if entry.path().is_dir() { code(&path) } else { read(&path) };
    }
    text
}

#[test]
fn the_alarm_of_the_table_watches_every_call_of_it() {
    let store = code("shared/src/store");
    let calls = [
        ("batch_get_item", "BatchGetItem"),
        ("batch_write_item", "BatchWriteItem"),
        ("delete_item", "DeleteItem"),
        ("get_item", "GetItem"),
        ("put_item", "PutItem"),
        ("query", "Query"),
        ("transact_get_items", "TransactGetItems"),
        ("transact_write_items", "TransactWriteItems"),
        ("update_item", "UpdateItem"),
    ];
    let called = calls.into_iter().filter(|(call, _)| store.contains(&format!(".{call}()"))).map(|(_, name)| name);
    let alarm = template("infra/alarms.yaml")["Resources"]["TableFails"]["Properties"].clone();
    let metrics = alarm["Metrics"].as_sequence().cloned().unwrap_or_default();
    let names = |metric: &Value| texts(&metric["MetricStat"]["Metric"]["Dimensions"][1]["Value"]);
    let watched: BTreeSet<String> = metrics.iter().flat_map(names).collect();
    assert!(watched.iter().eq(called), "{watched:?} is watched");
    // An alarm adds up ten metrics at most.
    assert!(watched.len() <= 10);
}

#[test]
fn sam_builds_the_image_with_what_its_dockerfile_needs() {
    let mounts = read("functions/worker/Dockerfile").contains("RUN --mount=");
    let settings = read("samconfig.toml");
    let build = settings.split("[default.build.parameters]").nth(1).expect("settings of the build");
    let build = build.split("\n[").next().unwrap_or_default();
    assert!(!mounts || build.contains("use_buildkit = true"), "Docker's classic builder knows no --mount: {build}");
}

#[test]
fn sam_builds_what_has_changed_in_other_folders_too() {
    let settings = read("samconfig.toml");
    let cached: Vec<&str> = settings.lines().filter(|line| line.trim_start().starts_with("cached")).collect();
    assert!(cached.is_empty(), "its cache looks at a function's own folder alone, and not at shared/: {cached:?}");
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
