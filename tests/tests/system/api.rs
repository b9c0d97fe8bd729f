//! What holds for every route: problems, media types, sizes, idempotency, preconditions.

use reqwest::Method;
use serde_json::json;
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
    assert!(answer.text.contains("did you mean") || answer.text.contains("schedule"), "{}", answer.text);
}

#[tokio::test]
async fn what_is_not_json_or_too_large_is_refused_in_this_order() {
    let world = World::new().await;
    let post = |headers, body: &str| world.api.send(Method::POST, "/schemas", headers, Some(body.to_owned()));
    post(&[("content-type", "text/plain")], "{}").await.expect(415);
    post(&[("content-type", "application/json")], "{\"name\": ").await.expect(400);
    post(&[("content-type", "application/json")], "[]").await.expect(400);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1_100_000));
    post(&[("content-type", "application/json; charset=utf-8")], &large).await.expect(413);
    world.api.send(Method::PATCH, "/pipelines", &[], None).await.expect(405);
    let answer = world.api.send(Method::DELETE, "/health", &[], None).await.expect(405);
    assert_eq!(answer.header("allow"), "GET");
    world.api.get("/nothing").await.expect(404);
    // A duplicate key is no way around the checks.
    let answer =
        post(&[("content-type", "application/json")], r#"{"name":"a","name":"b","fields":[]}"#).await.expect(400);
    assert!(answer.pointers().contains(&"/name".to_owned()), "{}", answer.text);
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
}
