//! `rest_api`: an API into a table, through the whole system.

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use shared::hosts::AllowedHost;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tests::World;
use tokio::net::TcpListener;

/// Orders 0 to 249 in pages of 100, for who has the token; the second page first sends everybody away.
async fn orders(asked: &AtomicU32, query: &HashMap<String, String>, headers: &HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|token| token != "Bearer s3cret-token") {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let start: u32 = query.get("after").map_or(0, |after| after.parse().unwrap());
    if start == 100 && asked.fetch_add(1, Ordering::SeqCst) == 0 {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "").into_response();
    }
    let end = (start + 100).min(250);
    let order = |id: u32| {
        let amount = if id == 7 { json!("free") } else { json!(f64::from(id) / 2.0) };
        json!({"id": id, "amount": amount, "customer": {"name": format!("c{id}")}})
    };
    let next = if end < 250 { json!(end.to_string()) } else { Value::Null };
    Json(json!({"data": {"orders": (start..end).map(order).collect::<Vec<_>>()}, "meta": {"next": next}}))
        .into_response()
}

async fn server() -> (String, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let handler = move |Query(query): Query<HashMap<String, String>>, headers: HeaderMap| async move {
        orders(&counted, &query, &headers).await
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v2/orders", get(handler))).await });
    (host, asked)
}

fn connector(name: &str, host: &str, token: &str) -> Value {
    json!({
        "name": name, "type": "rest_api", "authMethod": "bearer", "authConfig": {"token": token},
        "config": {
            "url": format!("http://{host}/v2"), "recordsPath": "data.orders", "rateLimit": 100,
            "pagination": {"type": "cursor", "cursorParam": "after", "cursorPath": "meta.next"}
        }
    })
}

#[tokio::test]
async fn an_api_becomes_a_table() {
    let (host, asked) = server().await;
    let allowed: Vec<AllowedHost> = AllowedHost::list(&host).unwrap();
    let world = World::with(|options| options.allowed_hosts = allowed).await;
    let schema = json!([
        {"name": "id", "dataType": "integer"}, {"name": "amount", "dataType": "decimal", "precision": 10, "scale": 2},
        {"name": "customer", "dataType": "json"},
    ]);
    let schema = world.schema("orders", schema).await;
    let id = world.api.create("/connectors", &connector("shop", &host, "s3cret-token")).await;
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "orders"}},
        {"id": "t", "nodeType": "target", "config": {}},
    ]);
    let pipeline = json!({
        "name": "p", "connectorId": id, "schemaId": schema, "nodes": nodes, "edges": [{"source": "s", "target": "t"}]
    });
    let pipeline = world.api.create("/pipelines", &pipeline).await;
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["rowsIn"]), (&json!("completed_with_errors"), &json!(250)), "{run}");
    assert_eq!((&run["rowsOut"], &run["failedRows"]), (&json!(249), &json!(1)), "{run}");
    // Sent away once, and asked again once.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let rows = world.api.rows(&schema).await;
    assert_eq!(rows.len(), 249);
    let row = rows.iter().find(|row| row["id"] == 3).unwrap();
    assert!(row["customer"].to_string().contains("c3"), "{row}");
    assert!(row["amount"].to_string().contains("1.5"), "{row}");
    let errors = world.api.get(&format!("/pipelines/{pipeline}/runs/{}/errors", run["id"].as_str().unwrap())).await;
    assert!(errors.text.contains("\\\"free\\\" is not a number"), "{}", errors.text);
}

#[tokio::test]
async fn a_test_of_a_connector_says_what_is_wrong_and_no_secret() {
    let (host, _) = server().await;
    let allowed: Vec<AllowedHost> = AllowedHost::list(&host).unwrap();
    let world = World::with(|options| options.allowed_hosts = allowed).await;
    let test = |name: &'static str, body: Value| {
        let api = &world.api;
        async move {
            let id = api
                .create("/connectors", &{
                    let mut body = body;
                    body["name"] = json!(name);
                    body
                })
                .await;
            api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200)
        }
    };
    let mut good = connector("", &host, "s3cret-token");
    good["config"]["url"] = json!(format!("http://{host}/v2/orders"));
    let answer = test("good", good.clone()).await.json();
    assert_eq!(
        (&answer["ok"], answer["detail"].as_str().unwrap().contains("has 100 records")),
        (&json!(true), true),
        "{answer}"
    );
    good["authConfig"]["token"] = json!("wrong-token");
    let answer = test("bad", good).await;
    assert_eq!(answer.json()["ok"], false);
    assert!(answer.text.contains("401") && !answer.text.contains("wrong-token"), "{}", answer.text);
    // Another port of this machine is not allowed.
    let (other, _) = server().await;
    let answer = test("inner", connector("", &other, "s3cret-token")).await;
    assert!(answer.text.contains("may not reach it"), "{}", answer.text);
}

#[tokio::test]
async fn a_stored_token_is_not_sent_to_another_host() {
    let (host, _) = server().await;
    let (other, _) = server().await;
    let allowed: Vec<AllowedHost> = AllowedHost::list(&format!("{host},{other}")).unwrap();
    let world = World::with(|options| options.allowed_hosts = allowed).await;
    let id = world.api.create("/connectors", &connector("orders", &host, "s3cret-token")).await;
    let path = format!("/connectors/{id}");
    let elsewhere = json!({"config": connector("orders", &other, "")["config"]});
    let answer = world.api.put(&path, &elsewhere).await.expect(400);
    assert_eq!(answer.pointers(), ["/authConfig"]);
    assert!(answer.text.contains("url changes"), "{}", answer.text);
    let kept = world.api.get(&path).await.expect(200).json();
    assert_eq!(kept["config"]["url"], format!("http://{host}/v2"));
    let along = json!({"config": elsewhere["config"], "authConfig": {"token": "another"}});
    world.api.put(&path, &along).await.expect(200);
}
