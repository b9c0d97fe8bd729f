//! What holds for every route: problems, media types, sizes, idempotency, preconditions.

use flowgate::stack::{Options, Stack};
use reqwest::Method;
use serde_json::json;
use shared::clock::Clock;
use shared::roles::Role;
use tests::World;

#[tokio::test]
async fn every_fault_of_a_body_is_reported_at_its_pointer() {
    let world = World::new().await;
    let body = json!({
        "name": "  ", "connectorId": "conn_no", "schemaId": 7, "shedule": "0 2 * * *", "schedule": "61 * * * *",
        "timezone": "Europe/Berlim", "executionConfig": {"batchSize": 0},
        "nodes": [
            {"id": "a", "nodeType": "source", "config": {}},
            {"id": "a", "nodeType": "filtr", "config": {}},
            {"id": "t", "nodeType": "transform", "config": {"ops": [{"op": "cast", "field": "x", "type": "integr"}]}},
        ],
        "edges": [{"source": "a", "target": "nowhere"}]
    });
    let answer = world.api.post("/pipelines", &body).await.expect(400);
    let problem = answer.json();
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("VALIDATION_FAILED"), &json!(400)));
    assert_eq!(problem["instance"], answer.header("x-request-id"));
    let pointers = answer.pointers();
    for wanted in [
        "/name",
        "/connectorId",
        "/schemaId",
        "/shedule",
        "/schedule",
        "/timezone",
        "/executionConfig/batchSize",
        "/nodes/1/id",
        "/nodes/1/nodeType",
        "/nodes/2/config/ops/0/type",
        "/edges/0/target",
    ] {
        assert!(pointers.iter().any(|p| p == wanted), "{wanted} is missing in {pointers:?}");
    }
    for hint in ["did you mean schedule?", "did you mean Europe/Berlin?", "did you mean filter?"] {
        assert!(answer.text.replace("\\\"", "").contains(hint), "{hint} is missing in {}", answer.text);
    }
}

#[tokio::test]
async fn what_is_not_json_or_too_large_is_refused_in_this_order() {
    let world = World::new().await;
    let post = |headers, body: &str| world.api.send(Method::POST, "/schemas", headers, Some(body.to_owned()));
    post(&[("content-type", "text/plain")], "{}").await.expect(415);
    // What is not there has no type.
    for path in ["/schemas", "/connectors", "/pipelines", "/schedules/preview"] {
        let answer = world.api.send(Method::POST, path, &[], None).await.expect(400);
        assert_eq!(answer.json()["code"], "MALFORMED", "{path}");
        if path != "/schedules/preview" {
            world.api.send(Method::PUT, path, &[], None).await.expect(400);
        }
    }
    post(&[("content-type", "application/json")], "{\"name\": ").await.expect(400);
    post(&[("content-type", "application/json")], "[]").await.expect(400);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1_100_000));
    post(&[("content-type", "application/json; charset=utf-8")], &large).await.expect(413);
    world.api.send(Method::PATCH, "/pipelines", &[], None).await.expect(405);
    let answer = world.api.send(Method::DELETE, "/health", &[], None).await.expect(405);
    assert_eq!(answer.header("allow"), "GET");
    let answer = world.api.send(Method::HEAD, "/health", &[], None).await.expect(405);
    assert_eq!((answer.header("allow"), answer.text.as_str()), ("GET", ""));
    world.api.get("/nothing").await.expect(404);
    // A duplicate key is no way around the checks.
    let answer =
        post(&[("content-type", "application/json")], r#"{"name":"a","name":"b","fields":[]}"#).await.expect(400);
    assert!(answer.pointers().contains(&"/name".to_owned()), "{}", answer.text);
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_refused_and_changes_nothing() {
    let world = World::with(|o| o.worker = false).await;
    let large: serde_json::Value = (0..250)
        .map(|n| json!({"name": format!("f{n}"), "dataType": "text", "description": "d".repeat(1900)}))
        .collect();
    let answer = world.api.post("/schemas", &json!({"name": "large", "fields": large})).await.expect(413);
    assert_eq!(answer.json()["code"], "TOO_LARGE");
    let schema = world.schema("large", json!([{"name": "f0", "dataType": "text"}])).await;
    world.api.put(&format!("/schemas/{schema}"), &json!({"fields": large})).await.expect(413);
    assert_eq!(world.api.get(&format!("/schemas/{schema}")).await.expect(200).json()["version"], 1);
}

#[tokio::test]
async fn what_takes_no_input_takes_none() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let run = format!("/pipelines/{pipeline}/runs/{}", world.api.run(&pipeline, json!({})).await);
    let json_type = [("content-type", "application/json")];
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1_100_000));
    for path in [format!("{run}/cancel"), format!("{run}/retry"), format!("/connectors/{connector}/test")] {
        let post = |headers, body: &str| world.api.send(Method::POST, &path, headers, Some(body.to_owned()));
        assert_eq!(post(&json_type, "{\"force\": true}").await.expect(400).pointers(), ["/force"], "{path}");
        post(&json_type, "{\"force\": ").await.expect(400);
        post(&[("content-type", "text/plain")], "{}").await.expect(415);
        post(&json_type, &large).await.expect(413);
    }
    assert_eq!(world.api.get(&run).await.expect(200).json()["status"], "pending");
    world.api.send(Method::POST, &format!("{run}/cancel"), &[], None).await.expect(202);
    world.api.post(&format!("{run}/retry"), &json!({})).await.expect(201);
}

#[tokio::test]
async fn the_same_key_and_body_give_the_first_answer_again() {
    let world = World::new().await;
    let body = json!({"name": "s", "fields": [{"name": "a", "dataType": "text"}]});
    let first = world.api.post_once("/schemas", "k1", &body).await.expect(201);
    let again = world.api.post_once("/schemas", "k1", &body).await.expect(201);
    assert_eq!(first.json(), again.json());
    let other = json!({"name": "t", "fields": [{"name": "a", "dataType": "text"}]});
    assert_eq!(
        world.api.post_once("/schemas", "k1", &other).await.expect(422).json()["code"],
        "IDEMPOTENCY_KEY_REUSED"
    );
    // The same key on another route is another request.
    let connector = json!({"name": "c", "type": "local_fs", "config": {"path": "x.csv"}});
    world.api.post_once("/connectors", "k1", &connector).await.expect(201);
}

#[tokio::test]
async fn the_first_answer_comes_again_whatever_became_of_what_it_made() {
    let world = World::new().await;
    let connector = world.connector("used", "in.csv").await;
    let schema = world.schema("used", json!([{"name": "a", "dataType": "text"}])).await;
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}, "position": {"x": 1, "y": 2.5}},
        {"id": "t", "nodeType": "target", "config": {"table": "used"}}
    ]);
    let bodies = [
        (
            "/connectors",
            json!({
                "name": "c", "type": "aws_s3", "config": {"bucket": "some-bucket"}, "authMethod": "access_key",
                "authConfig": {"accessKeyId": "AKIA", "secretAccessKey": "secret"}
            }),
        ),
        ("/schemas", json!({"name": "s", "fields": [{"name": "a", "dataType": "text"}]})),
        (
            "/pipelines",
            json!({
                "name": " p ", "connectorId": connector, "schemaId": schema, "schedule": "@daily", "nodes": nodes,
                "edges": [{"source": "s", "target": "t"}]
            }),
        ),
    ];
    let mut firsts = Vec::new();
    for (path, body) in &bodies {
        firsts.push(world.api.post_once(path, "k", body).await.expect(201));
    }
    // What the pipeline's answer shows of others may change, too.
    world.api.put(&format!("/connectors/{connector}"), &json!({"name": "renamed"})).await.expect(200);
    world.api.put(&format!("/schemas/{schema}"), &json!({"displayName": "Renamed"})).await.expect(200);
    let again = async |what: &str| {
        for ((path, body), first) in bodies.iter().zip(&firsts) {
            let again = world.api.post_once(path, "k", body).await.expect(201);
            assert_eq!(again.text, first.text, "{path} {what}");
            for header in ["etag", "location"] {
                assert_eq!(again.header(header), first.header(header), "{path} {what}");
            }
        }
    };
    again("at once").await;
    let paths: Vec<String> = firsts.iter().map(|first| first.header("location").replace("/api/v1", "")).collect();
    for path in &paths {
        world.api.put(path, &json!({"name": "other", "description": "new"})).await.expect(200);
    }
    again("after a change").await;
    for path in &paths {
        world.api.delete(path).await.expect(204);
    }
    again("after its end").await;
    let id = paths[2].strip_prefix("/pipelines/").unwrap();
    let store = &world.stack.services().store;
    crate::wait("the purge", async || !store.is_deleted("acme", id).await.unwrap()).await;
    again("after the purge").await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let clock = Clock::fixed(chrono::Utc::now());
    let world = World::with(|options| options.clock = clock.clone()).await;
    let schema = |name: &str| json!({"name": name, "fields": [{"name": "a", "dataType": "text"}]});
    let first = world.api.post_once("/schemas", "k", &schema("s")).await.expect(201).json();
    clock.advance(chrono::Duration::hours(24) - chrono::Duration::seconds(1));
    let api = world.api(Role::Editor, "acme");
    assert_eq!(api.post_once("/schemas", "k", &schema("s")).await.expect(201).json(), first);
    api.post_once("/schemas", "k", &schema("t")).await.expect(422);
    // TTL deletes late: the record is still there.
    clock.advance(chrono::Duration::seconds(2));
    let second = api.post_once("/schemas", "k", &schema("t")).await.expect(201).json();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(api.post_once("/schemas", "k", &schema("t")).await.expect(201).json(), second);
}

#[tokio::test]
async fn a_key_from_before_the_secret_was_replaced_is_not_said_to_be_of_another_body() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { scheduled: false, worker: false, ..Options::new(folder.path()) };
    let api = |stack: &Stack| tests::Api::new(&stack.url(), &stack.token(Role::Editor, "acme").unwrap());
    let body = json!({"name": "s", "fields": [{"name": "a", "dataType": "text"}]});
    let stack = Stack::start(options.clone()).await.unwrap();
    let secret = stack.folder().state().join("cursor.key");
    api(&stack).post_once("/schemas", "k", &body).await.expect(201);
    stack.shutdown().await;
    std::fs::remove_file(secret).unwrap();
    let stack = Stack::start(options).await.unwrap();
    let problem = api(&stack).post_once("/schemas", "k", &body).await.expect(422).json();
    assert!(problem["detail"].as_str().unwrap().contains("secret for such records was replaced"), "{problem}");
    stack.shutdown().await;
}

#[tokio::test]
async fn many_callers_with_one_key_make_one_run() {
    let world = World::new().await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let path = format!("/pipelines/{pipeline}/run");
    let (empty, calls) = (json!({}), 12);
    let all = futures::future::join_all((0..calls).map(|_| world.api.post_once(&path, "once", &empty))).await;
    let mut ids: Vec<String> = Vec::new();
    for answer in all {
        assert!(matches!(answer.status.as_u16(), 201 | 409), "{}", answer.text);
        if answer.status.as_u16() == 201 {
            ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let runs = world.api.get(&format!("/pipelines/{pipeline}/runs?includeTotal=true")).await.json();
    assert_eq!(runs["pagination"]["total"], 1);
}

#[tokio::test]
async fn many_callers_with_one_key_are_no_other_run_in_each_others_way() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let empty = json!({});
    for policy in ["forbid", "replace"] {
        let body = json!({
            "name": policy, "connectorId": connector, "schemaId": schema, "executionConfig": {"concurrencyPolicy": policy}
        });
        let pipeline = world.api.create("/pipelines", &body).await;
        let path = format!("/pipelines/{pipeline}/run");
        for round in 0..5 {
            let key = format!("{policy} {round}");
            let all = futures::future::join_all((0..8).map(|_| world.api.post_once(&path, &key, &empty))).await;
            let statuses: Vec<_> = all.iter().map(|answer| answer.status.as_u16()).collect();
            let mut ids: Vec<_> = all.iter().filter_map(|a| a.json()["id"].as_str().map(str::to_owned)).collect();
            ids.dedup();
            assert!(statuses.iter().all(|status| *status == 201), "{policy}: {statuses:?}");
            assert_eq!(ids.len(), 1, "{policy}: {ids:?}");
            let run = format!("/pipelines/{pipeline}/runs/{}", ids[0]);
            assert_eq!(world.api.get(&run).await.expect(200).json()["status"], "pending", "{policy}");
            // And so are those who ask for it to be run again.
            world.api.post(&format!("{run}/cancel"), &empty).await.expect(202);
            let retry = format!("{run}/retry");
            let all = futures::future::join_all((0..8).map(|_| world.api.post_once(&retry, &key, &empty))).await;
            let mut ids: Vec<_> = all.iter().filter_map(|a| a.json()["id"].as_str().map(str::to_owned)).collect();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{policy}: {all:?}");
            let run = format!("/pipelines/{pipeline}/runs/{}", ids[0]);
            assert_eq!(world.api.get(&run).await.expect(200).json()["status"], "pending", "{policy}");
            world.api.post(&format!("{run}/cancel"), &empty).await.expect(202);
        }
    }
}

#[tokio::test]
async fn a_stale_if_match_changes_nothing() {
    let world = World::new().await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let path = format!("/schemas/{schema}");
    let read = world.api.get(&path).await.expect(200);
    let etag = read.header("etag").to_owned();
    let change = json!({"description": "x"}).to_string();
    let json_type = ("content-type", "application/json");
    let put = |etag: String, body: String| async {
        let etag = etag;
        world.api.send(Method::PUT, &path, &[json_type, ("if-match", &etag)], Some(body)).await
    };
    put(etag.clone(), change.clone()).await.expect(200);
    assert_eq!(put(etag.clone(), change).await.expect(412).json()["code"], "PRECONDITION_FAILED");
    world.api.send(Method::DELETE, &path, &[("if-match", &etag)], None).await.expect(412);
    world.api.delete(&path).await.expect(204);
    world.api.delete(&path).await.expect(404);
}

/// A connector, a schema and a pipeline, by their paths.
async fn one_of_each(world: &World, name: &str) -> [String; 3] {
    let of = |kind: &str, id: &str| format!("/{kind}/{id}");
    let (connector, schema) = (format!("{name} used"), format!("{name}_used"));
    let connector = world.connector(&connector, "nothing.csv").await;
    let schema = world.schema(&schema, json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let connector = world.connector(name, "nothing.csv").await;
    let schema = world.schema(name, json!([{"name": "a", "dataType": "text"}])).await;
    [of("connectors", &connector), of("schemas", &schema), of("pipelines", &pipeline)]
}

#[tokio::test]
async fn who_names_no_version_is_not_told_of_one() {
    let world = World::with(|o| o.worker = false).await;
    for path in one_of_each(&world, "raced").await {
        let bodies: Vec<_> = (0..6).map(|n| json!({"description": format!("d{n}")})).collect();
        let answers = futures::future::join_all(bodies.iter().map(|body| world.api.put(&path, body))).await;
        let mut versions = vec![1];
        for answer in answers {
            if answer.status.as_u16() == 409 {
                assert_eq!(answer.json()["code"], "BUSY", "{path}");
            } else {
                versions.push(answer.expect(200).json()["version"].as_u64().unwrap());
            }
        }
        versions.sort_unstable();
        assert!(versions.len() > 2, "{path}: {versions:?}");
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "{path}: each is one of its own");
        let last = world.api.get(&path).await.expect(200).json();
        assert_eq!(last["version"], json!(versions.len()), "{path}");
        let change = json!({"description": "late"});
        let (put, delete) = futures::join!(world.api.put(&path, &change), world.api.delete(&path));
        assert!(matches!(put.status.as_u16(), 200 | 404), "{path}: {}", put.text);
        delete.expect(204);
    }
}

#[tokio::test]
async fn what_is_there_comes_before_what_is_in_conflict_and_that_before_its_version() {
    let world = World::with(|o| o.worker = false).await;
    let [connector, schema, _] = one_of_each(&world, "own").await;
    let stale = [("content-type", "application/json"), ("if-match", "\"9\"")];
    let code = async |method: Method, path: &str, body: serde_json::Value| {
        let answer = world.api.send(method, path, &stale, Some(body.to_string())).await;
        format!("{} {}", answer.status.as_u16(), answer.json()["code"].as_str().unwrap())
    };
    let fields = json!({"fields": [{"name": "b", "dataType": "text"}]});
    assert_eq!(code(Method::PUT, &schema, fields).await, "409 WOULD_LOSE_DATA");
    assert_eq!(code(Method::PUT, &schema, json!({"name": "own_used"})).await, "409 NAME_TAKEN");
    assert_eq!(code(Method::PUT, &connector, json!({"name": "own used"})).await, "409 NAME_TAKEN");
    for path in [&connector, &schema] {
        assert_eq!(code(Method::PUT, path, json!({"name": "free"})).await, "412 PRECONDITION_FAILED");
        assert_eq!(code(Method::DELETE, path, json!({})).await, "412 PRECONDITION_FAILED");
        assert_eq!(code(Method::PUT, &format!("{path}0"), json!({"name": "free"})).await, "404 NOT_FOUND");
        assert_eq!(code(Method::DELETE, &format!("{path}0"), json!({})).await, "404 NOT_FOUND");
    }
    for kind in ["connectors", "schemas"] {
        let used = world.api.get(&format!("/{kind}")).await.json()["data"][1]["id"].as_str().unwrap().to_owned();
        assert_eq!(code(Method::DELETE, &format!("/{kind}/{used}"), json!({})).await, "409 IN_USE");
    }
}

#[tokio::test]
async fn a_key_that_is_not_usable_is_told_beside_the_faults_of_its_body() {
    let world = World::with(|o| o.worker = false).await;
    let [connector, _, pipeline] = one_of_each(&world, "keyed").await;
    let long = "k".repeat(256);
    let headers = [("content-type", "application/json"), ("idempotency-key", long.as_str())];
    let broken = json!({"nmae": "x"}).to_string();
    let of = async |path: &str| {
        let answer = world.api.send(Method::POST, path, &headers, Some(broken.clone())).await.expect(400);
        answer.pointers().into_iter().map(|p| p.to_owned()).collect::<Vec<_>>()
    };
    for path in ["/connectors", "/schemas", "/pipelines", &format!("{pipeline}/run")] {
        let told = of(path).await;
        assert!(told.iter().any(|p| p == "Idempotency-Key") && told.iter().any(|p| p == "/nmae"), "{path}: {told:?}");
    }
    let fine = json!({"description": "x"}).to_string();
    world.api.send(Method::PUT, &connector, &headers, Some(fine)).await.expect(200);
}

#[tokio::test]
async fn an_id_that_is_missing_is_told_beside_all_other_faults() {
    let world = World::with(|o| o.worker = false).await;
    for path in ["/connectors", "/schemas", "/pipelines"] {
        let answer = world.api.put(path, &json!({"nmae": "x", "name": 7})).await.expect(400);
        assert_eq!(answer.pointers(), ["/id", "/name", "/nmae"], "{path}");
    }
}

#[tokio::test]
async fn if_match_guards_connectors_and_pipelines_as_well() {
    let world = World::new().await;
    let [connector, _, pipeline] = one_of_each(&world, "guarded").await;
    let json_type = ("content-type", "application/json");
    let change = json!({"description": "x"}).to_string();
    for path in [&connector, &pipeline] {
        let etag = world.api.get(path).await.expect(200).header("etag").to_owned();
        let with = async |method: Method, tag: String| {
            let body = (method == Method::PUT).then(|| change.clone());
            world.api.send(method, path, &[json_type, ("if-match", &tag)], body).await
        };
        with(Method::PUT, format!("\"7\", {etag}")).await.expect(200);
        with(Method::PUT, etag.clone()).await.expect(412);
        with(Method::DELETE, etag.clone()).await.expect(412);
        with(Method::PUT, "*".to_owned()).await.expect(200);
        // A weak tag is none.
        let now = world.api.get(path).await.expect(200).header("etag").to_owned();
        with(Method::PUT, format!("W/{now}")).await.expect(412);
        // Nor is what only begins like one.
        let open = now.trim_end_matches('"');
        for near in [open.to_owned(), format!("{open}.x\""), format!("{open}0\""), now.trim_matches('"').to_owned()] {
            with(Method::PUT, near).await.expect(412);
        }
        if *path == pipeline {
            let id = path.strip_prefix("/pipelines/").unwrap();
            world.run(id).await;
            assert_eq!(world.api.get(path).await.expect(200).header("etag"), now, "runs do not move it");
        }
        with(Method::DELETE, now).await.expect(204);
    }
}

#[tokio::test]
async fn a_secret_never_comes_back() {
    let world = World::new().await;
    let secret = "sEcReT-sEcReT-sEcReT";
    let body = json!({
        "name": "bucket", "type": "aws_s3", "config": {"bucket": "some-bucket"}, "authMethod": "access_key",
        "authConfig": {"accessKeyId": "AKIA", "secretAccessKey": secret}
    });
    let made = world.api.post("/connectors", &body).await.expect(201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let read = world.api.get(&format!("/connectors/{id}")).await.expect(200);
    let listed = world.api.get("/connectors").await.expect(200);
    let mut broken = body.clone();
    broken["authConfig"]["secretAccessKey"] = json!({"x": secret});
    let fault = world.api.post("/connectors", &broken).await.expect(400);
    for answer in [made, read, listed, fault] {
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
    for file in std::fs::read_dir(world.stack.folder().root().join(".state")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{} holds it", file.display());
        }
    }
}

#[tokio::test]
async fn the_document_and_health_need_no_token() {
    let world = World::new().await;
    let anybody = tests::Api::new(&world.stack.url(), "");
    assert_eq!(anybody.get("/health").await.expect(200).json()["status"], "ok");
    let document = anybody.get("/openapi.json").await.expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (method, path, _) in shared::http::routes::ROUTES {
        let known = &document["paths"][path][method.to_lowercase()];
        assert!(known.is_object(), "{method} {path} is not in the document");
    }
}

#[tokio::test]
async fn a_broken_change_of_a_connector_that_is_not_there_is_400_before_it_is_404() {
    let world = World::new().await;
    let path = format!("/connectors/{}", tests::named::CONNECTOR);
    let broken = json!({"name": 7, "nmae": "x", "type": "local_fs", "config": {"path": "../up"}});
    let answer = world.api.put(&path, &broken).await.expect(400);
    assert_eq!(answer.pointers(), ["/config/path", "/name", "/nmae"]);
    world.api.put(&path, &json!({"name": "fine"})).await.expect(404);
    // What the config may hold depends on a type that nobody knows here.
    world.api.put(&path, &json!({"config": {"bucket": "b"}})).await.expect(404);
    let in_body = json!({"id": tests::named::CONNECTOR, "nmae": "x"});
    assert_eq!(world.api.put("/connectors", &in_body).await.expect(400).pointers(), ["/nmae"]);
    let secret = json!({"authMethod": "password", "authConfig": {"usr": "x", "password": "y"}});
    assert_eq!(world.api.put(&path, &secret).await.expect(400).pointers(), ["/authConfig/username", "/authConfig/usr"]);
    assert_eq!(
        world.api.put("/connectors", &json!({"authMethod": "bearer", "authConfig": null})).await.expect(400).pointers(),
        ["/authConfig", "/id"]
    );
    world.api.put(&path, &json!({"authMethod": "password"})).await.expect(404);
}
