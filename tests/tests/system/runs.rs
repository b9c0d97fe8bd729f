//! Runs: what comes out of them, what they say, and how they end.

use serde_json::{Value, json};
use std::collections::HashMap;
use tests::World;
use tests::stalled::Stalled;

fn people() -> Value {
    json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "name", "dataType": "varchar", "length": 10},
        {"name": "born", "dataType": "date"},
    ])
}

async fn pipeline(world: &World, connector: &str, schema: &str, nodes: Value, edges: Value) -> String {
    let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    world.api.create("/pipelines", &body).await
}

fn to_target(mode: &str) -> (Value, Value) {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "t", "nodeType": "target", "config": {"loadMode": mode}},
    ]);
    (nodes, json!([{"source": "s", "target": "t"}]))
}

#[tokio::test]
async fn a_file_becomes_rows_of_a_table() {
    let world = World::new().await;
    world.file("people.csv", "id,name,born\n1,Ada,1815-12-10\n2,\"Grace, H.\",1906-12-09\n3,,\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.run(&id).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!((&run["rowsIn"], &run["rowsOut"], &run["failedRows"]), (&json!(3), &json!(3), &json!(0)));
    assert_eq!(run["attempt"], 1);
    let rows = world.api.rows(&schema).await;
    assert_eq!(rows[1], json!({"id": 2, "name": "Grace, H.", "born": "1906-12-09"}));
    assert_eq!(rows[2], json!({"id": 3, "name": null, "born": null}));
    let read = world.api.get(&format!("/pipelines/{id}")).await.json();
    assert_eq!(read["lastRunStatus"], "completed");
    assert_eq!(read["version"], 1);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_rejected_with_row_column_value_and_reason() {
    let world = World::new().await;
    let mut text = "id,name,born\n".to_owned();
    for i in 1..=200 {
        match i % 4 {
            0 => text += &format!("x{i},a,2000-01-01\n"),
            1 => text += &format!("{i},a,2000-01-01\n"),
            2 => text += &format!("{i},a name that is far too long,2000-01-01\n"),
            _ => text += &format!("{i},a,2000-13-01\n"),
        }
    }
    world.file("people.csv", text);
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.run(&id).await;
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    assert_eq!((&run["rowsIn"], &run["rowsOut"], &run["failedRows"]), (&json!(200), &json!(50), &json!(150)));
    let path = format!("/pipelines/{id}/runs/{}", run["id"].as_str().unwrap());
    let (mut errors, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.api.get(&format!("{path}/errors?limit=100{cursor}")).await.expect(200).json();
        errors.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["pagination"]["cursor"].as_str() {
            None => break,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
    let by_row: HashMap<u64, &Value> = errors.iter().map(|e| (e["row"].as_u64().unwrap(), e)).collect();
    assert_eq!((errors.len(), by_row.len()), (150, 150));
    assert_eq!((&by_row[&4]["column"], &by_row[&4]["value"]), (&json!("id"), &json!("x4")));
    assert_eq!(by_row[&2]["column"], "name");
    assert_eq!((&by_row[&3]["column"], &by_row[&3]["value"]), (&json!("born"), &json!("2000-13-01")));
    let csv = world.api.send(reqwest::Method::GET, &format!("{path}/errors"), &[("accept", "text/csv")], None).await;
    let csv = csv.expect(200);
    assert!(csv.text.starts_with("Row,Column,Value,Error\r\n"), "{}", csv.text);
    assert_eq!(csv.text.lines().count(), 151);
    let progress = world.api.get(&format!("{path}/progress")).await.expect(200).json();
    assert_eq!(progress["validationErrors"].as_array().unwrap().len(), 20);
    for node in progress["nodes"].as_array().unwrap() {
        let n = |name: &str| node[name].as_u64().unwrap();
        assert_eq!(n("rowsIn"), n("rowsOut") + n("filtered") + n("rejected") + n("deduplicated"), "{node}");
    }
    assert!(!progress["log"].as_array().unwrap().is_empty());
    let rows = world.api.rows(&schema).await;
    assert!(rows.len() == 50 && rows.iter().all(|r| r["id"].as_u64().unwrap() % 4 == 1));
}

#[tokio::test]
async fn rejected_rows_are_kept_and_paged_however_long_they_are_as_json() {
    let world = World::new().await;
    // Characters that JSON writes with six bytes each.
    let row = format!("{},a,2000-01-01\n", "\u{1}".repeat(200));
    world.file("people.csv", format!("id,name,born\n{}", row.repeat(3000)));
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.run(&id).await;
    assert_eq!((&run["status"], &run["failedRows"]), (&json!("completed_with_errors"), &json!(3000)), "{run}");
    let mut path = format!("/pipelines/{id}/runs/{}/errors?limit=5000", run["id"].as_str().unwrap());
    let (mut rows, mut pages) = (0, 0);
    loop {
        let page = world.api.send(reqwest::Method::GET, &path, &[("accept", "text/csv")], None).await.expect(200);
        let bytes = serde_json::to_string(&page.text).unwrap().len();
        assert!(bytes < 6_000_000, "{bytes} bytes are more than a function may answer");
        rows += page.text.lines().count() - 1;
        pages += 1;
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        let Some(link) = link else { break };
        let next = link.trim_start_matches("</api/v1").split('>').next().unwrap().to_owned();
        path = next;
    }
    assert!(rows == 3000 && pages > 1, "{rows} rows on {pages} pages");
}

#[tokio::test]
async fn a_running_run_tells_how_far_it_is() {
    let world = World::new().await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    let path = format!("{}/progress", stalled.path());
    let count = |progress: &Value, name: &str| progress[name].as_u64().unwrap_or_default();
    let progress = loop {
        let progress = world.api.get(&path).await.expect(200).json();
        assert_eq!(progress["status"], "running", "{progress}");
        if count(&progress, "processedRows") > 0 {
            break progress;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let (done, total) = (count(&progress, "processedRows"), count(&progress, "totalRows"));
    assert!(done < total && total >= Stalled::ROWS as u64 / 2, "{progress}");
    assert!(progress["etaSeconds"].is_u64() && count(&progress, "durationMs") > 0, "{progress}");
    assert_eq!((count(&progress, "partitions"), progress["partitionDetails"].as_array().unwrap().len()), (2, 2));
    assert_eq!(progress["nodes"].as_array().unwrap().len(), 6, "{progress}");
    stalled.s3.release();
    world.api.finished(&stalled.pipeline, &stalled.run).await;
    let progress = world.api.get(&path).await.expect(200).json();
    let all = Stalled::ROWS as u64;
    assert_eq!((count(&progress, "processedRows"), count(&progress, "totalRows")), (all, all), "{progress}");
    assert_eq!((&progress["etaSeconds"], count(&progress, "completedPartitions")), (&Value::Null, 2), "{progress}");
}

#[tokio::test]
async fn a_run_fails_with_a_reason_where_its_file_is_not_there() {
    let world = World::new().await;
    let connector = world.connector("people", "nowhere/people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.run(&id).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("SOURCE_ERROR")), "{run}");
    assert!(run["error"]["message"].as_str().unwrap().contains("people.csv"), "{run}");
    assert_eq!(world.api.rows(&schema).await, Vec::<Value>::new());
    // Outside of the files root nothing is read, whatever the path.
    for path in ["/etc/passwd", "../../etc/passwd"] {
        let body = json!({"name": path, "type": "local_fs", "config": {"path": path}});
        let answer = world.api.post("/connectors", &body).await;
        if answer.status.as_u16() == 201 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            let test = world.api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200).json();
            assert_eq!(test["ok"], false, "{test}");
            assert!(!test["detail"].as_str().unwrap().contains("root:"), "{test}");
        }
    }
}

#[tokio::test]
async fn a_limit_of_errors_ends_a_run_with_nothing_written() {
    let world = World::new().await;
    world.file("people.csv", "id,name,born\n1,a,\nx,a,\ny,a,\n2,b,\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    for handling in [
        json!({"onError": "fail"}),
        json!({"onError": "skip", "maxErrors": 1}),
        json!({"onError": "skip", "maxErrorRate": 0.1}),
    ] {
        let body = json!({
            "name": "p", "connectorId": connector, "schemaId": schema, "executionConfig": {"errorHandling": handling}
        });
        let id = world.api.create("/pipelines", &body).await;
        let run = world.run(&id).await;
        assert_eq!(
            (&run["status"], &run["error"]["code"]),
            (&json!("failed"), &json!("TOO_MANY_ERRORS")),
            "{handling}: {run}"
        );
        assert_eq!(run["rowsOut"], 0);
    }
    assert_eq!(world.api.rows(&schema).await, Vec::<Value>::new());
}

#[tokio::test]
async fn rejected_rows_are_told_in_the_order_of_their_rows() {
    let world = World::new().await;
    let rows: String =
        (1..=60_000).map(|i| if i % 50 == 0 { "x,a,\n".to_owned() } else { format!("{i},a,\n") }).collect();
    world.file("people.csv", format!("id,name,born\n{rows}"));
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let body = json!({
        "name": "p", "connectorId": connector, "schemaId": schema, "executionConfig": {"parallelism": 4, "batchSize": 500}
    });
    let id = world.api.create("/pipelines", &body).await;
    let run = world.run(&id).await;
    assert_eq!((&run["status"], &run["failedRows"]), (&json!("completed_with_errors"), &json!(1200)), "{run}");
    let path = format!("/pipelines/{id}/runs/{}", run["id"].as_str().unwrap());
    let numbers =
        |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap()).collect::<Vec<_>>();
    let progress = world.api.get(&format!("{path}/progress")).await.expect(200).json();
    assert_eq!(numbers(&progress["validationErrors"]), (1..=20).map(|i| i * 50).collect::<Vec<_>>());
    let errors = world.api.get(&format!("{path}/errors?limit=100")).await.expect(200).json();
    assert_eq!(numbers(&errors["data"]), (1..=100).map(|i| i * 50).collect::<Vec<_>>());
}

#[tokio::test]
async fn load_modes_do_what_they_say() {
    let world = World::new().await;
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let (nodes, edges) = to_target("append");
    let append = pipeline(&world, &connector, &schema, nodes, edges).await;
    let (nodes, edges) = to_target("upsert");
    let upsert = pipeline(&world, &connector, &schema, nodes, edges).await;
    let (nodes, edges) = to_target("truncate");
    let truncate = pipeline(&world, &connector, &schema, nodes, edges).await;
    let ids = |rows: &[Value]| {
        let mut ids: Vec<_> =
            rows.iter().map(|r| (r["id"].as_i64().unwrap(), r["name"].as_str().unwrap().to_owned())).collect();
        ids.sort();
        ids.into_iter().map(|(i, n)| format!("{i}{n}")).collect::<Vec<_>>().join(" ")
    };
    world.file("people.csv", "id,name,born\n1,a,\n2,b,\n");
    assert_eq!(world.run(&append).await["status"], "completed");
    world.file("people.csv", "id,name,born\n2,B,\n3,c,\n3,d,\n");
    let run = world.run(&upsert).await;
    assert_eq!((&run["status"], &run["skippedRows"]), (&json!("completed"), &json!(1)), "{run}");
    assert_eq!(ids(&world.api.rows(&schema).await), "1a 2B 3d");
    world.file("people.csv", "id,name,born\n9,z,\n");
    assert_eq!(world.run(&truncate).await["status"], "completed");
    assert_eq!(ids(&world.api.rows(&schema).await), "9z");
    world.file("people.csv", "id,name,born\n");
    assert_eq!(world.run(&truncate).await["status"], "failed", "nothing must not replace a table");
    assert_eq!(ids(&world.api.rows(&schema).await), "9z");
}

#[tokio::test]
async fn a_graph_of_all_node_types_gives_the_right_rows_and_counts() {
    let world = World::new().await;
    world.file("orders.csv", "id,customer,amount,note\n1,a,10,x\n2,b,20,\n2,b,20,\n3,a,5,y\n4,c,-1,z\n5,a,oops,z\n");
    world.file("customers.jsonl", "{\"code\":\"a\",\"name\":\"Ada\"}\n{\"code\":\"b\",\"name\":\"Bob\"}\n");
    let orders = world.connector("orders", "orders.csv").await;
    let customers = world.connector("customers", "customers.jsonl").await;
    let schema = world
        .schema("totals", json!([
            {"name": "name", "dataType": "text"}, {"name": "total", "dataType": "double"}, {"name": "orders", "dataType": "bigint"}
        ]))
        .await;
    let nodes = json!([
        {"id": "o", "nodeType": "source", "config": {"options": {"columns": {"amount": "double"}}}},
        {"id": "d", "nodeType": "deduplicate", "config": {"keys": ["id"], "keep": "first"}},
        {"id": "f", "nodeType": "filter", "config": {"condition": "amount > ${least}"}},
        {"id": "c", "nodeType": "source", "config": {"connectorId": customers}},
        {"id": "j", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "customer", "right": "code"}]}},
        {"id": "x", "nodeType": "transform", "config": {"ops": [{"op": "expression", "field": "name", "expr": "upper(name)"}]}},
        {"id": "a", "nodeType": "aggregate", "config": {"groupBy": ["name"], "measures": [
            {"fn": "sum", "field": "amount", "as": "total"}, {"fn": "count", "field": "*", "as": "orders"}]}},
        {"id": "s", "nodeType": "sort", "config": {"by": [{"field": "total", "direction": "desc"}]}},
        {"id": "t", "nodeType": "target", "config": {}},
    ]);
    let edges = json!([
        {"source": "o", "target": "d"}, {"source": "d", "target": "f"},
        {"source": "f", "target": "j", "label": "left"}, {"source": "c", "target": "j", "label": "right"},
        {"source": "j", "target": "x"}, {"source": "x", "target": "a"}, {"source": "a", "target": "s"}, {"source": "s", "target": "t"},
    ]);
    let id = pipeline(&world, &orders, &schema, nodes, edges).await;
    let run = world.api.run(&id, json!({"least": 0})).await;
    let run = world.api.finished(&id, &run).await;
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    assert_eq!((&run["rowsIn"], &run["rowsOut"], &run["failedRows"]), (&json!(8), &json!(2), &json!(1)));
    let rows = world.api.rows(&schema).await;
    assert!(rows.contains(&json!({"name": "ADA", "total": 15.0, "orders": 2})), "{rows:?}");
    assert!(rows.contains(&json!({"name": "BOB", "total": 20.0, "orders": 1})), "{rows:?}");
    let progress =
        world.api.get(&format!("/pipelines/{id}/runs/{}/progress", run["id"].as_str().unwrap())).await.json();
    let node = |name: &str| progress["nodes"].as_array().unwrap().iter().find(|n| n["name"] == name).unwrap().clone();
    assert_eq!(node("d")["deduplicated"], 1);
    assert_eq!(node("f")["filtered"], 1);
    assert_eq!(node("o")["rejected"], 1);
    // Without its parameter the run says which one is missing.
    let run = world.run(&id).await;
    assert!(run["error"]["message"].as_str().unwrap().contains("least"), "{run}");
}

#[tokio::test]
async fn a_retry_of_a_failed_run_writes_once() {
    let world = World::new().await;
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let failed = world.run(&id).await;
    assert_eq!(failed["status"], "failed");
    world.file("people.csv", "id,name,born\n1,a,\nx,b,\n");
    let retry = |run: &Value| format!("/pipelines/{id}/runs/{}/retry", run["id"].as_str().unwrap());
    let second = world.api.create(&retry(&failed), &json!({})).await;
    let second = world.api.finished(&id, &second).await;
    assert_eq!(
        (&second["status"], &second["retryOf"], &second["trigger"]),
        (&json!("completed_with_errors"), &failed["id"], &json!("retry"))
    );
    // The bad row was mended: the retry replaces what the run before wrote.
    world.file("people.csv", "id,name,born\n1,a,\n2,b,\n");
    let third = world.api.create(&retry(&second), &json!({})).await;
    let third = world.api.finished(&id, &third).await;
    assert_eq!(third["status"], "completed", "{third}");
    assert_eq!(world.api.rows(&schema).await.len(), 2);
    assert_eq!(world.api.post(&retry(&third), &json!({})).await.expect(409).json()["code"], "RUN_NOT_RETRYABLE");
}

#[tokio::test]
async fn a_run_is_retried_once_and_then_its_newest_retry_is_named() {
    let world = World::new().await;
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let first = world.run(&id).await["id"].as_str().unwrap().to_owned();
    let retry = |run: &str| format!("/pipelines/{id}/runs/{run}/retry");
    let (path, empty) = (retry(&first), json!({}));
    let answers = futures::future::join_all((0..6).map(|_| world.api.post(&path, &empty))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status.as_u16() == 201);
    assert_eq!((made.len(), refused.len()), (1, 5), "one of those who ask at once");
    assert!(refused.iter().all(|a| matches!(a.json()["code"].as_str(), Some("RUN_RETRIED" | "BUSY"))), "{refused:?}");
    let second = made[0].json()["id"].as_str().unwrap().to_owned();
    assert_eq!(world.api.finished(&id, &second).await["status"], "failed");
    world.file("people.csv", "id,name,born\n1,a,\n2,b,\n");
    let third = world.api.create(&retry(&second), &json!({})).await;
    assert_eq!(world.api.finished(&id, &third).await["status"], "completed");
    for before in [&first, &second] {
        let refused = world.api.post(&retry(before), &json!({})).await.expect(409).json();
        let said = refused["detail"].as_str().unwrap();
        assert_eq!(refused["code"], "RUN_RETRIED");
        assert!(said.contains(&third) && said.contains("completed"), "{said}");
    }
    assert_eq!(world.api.rows(&schema).await.len(), 2);
    // What was rolled back may be brought again.
    world.api.post(&format!("/pipelines/{id}/runs/{third}/rollback"), &json!({})).await.expect(200);
    let fourth = world.api.create(&retry(&third), &json!({})).await;
    assert_eq!(world.api.finished(&id, &fourth).await["status"], "completed");
    assert_eq!(world.api.rows(&schema).await.len(), 2);
}

#[tokio::test]
async fn a_pending_run_is_cancelled_at_once_and_a_final_one_is_not() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.api.run(&id, json!({})).await;
    let cancel = format!("/pipelines/{id}/runs/{run}/cancel");
    assert_eq!(world.api.post(&cancel, &json!({})).await.expect(202).json()["status"], "cancelled");
    assert_eq!(world.api.post(&cancel, &json!({})).await.expect(409).json()["code"], "RUN_FINAL");
    let list = world.api.get(&format!("/pipelines/{id}/runs?status=cancelled")).await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let list = world.api.get(&format!("/pipelines/{id}/runs?status=completed")).await.expect(200).json();
    assert_eq!(list["data"], json!([]));
    world.api.get(&format!("/pipelines/{id}/runs?status=done")).await.expect(400);
}

#[tokio::test]
async fn two_runs_at_once_are_as_the_policy_says() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let make = |policy: &'static str| {
        let body = json!({"name": policy, "connectorId": connector, "schemaId": schema, "executionConfig": {"concurrencyPolicy": policy}});
        let api = world.api.clone();
        async move { api.create("/pipelines", &body).await }
    };
    let forbid = make("forbid").await;
    let path = format!("/pipelines/{forbid}/run");
    let empty = json!({});
    let answers = futures::future::join_all((0..6).map(|_| world.api.post(&path, &empty))).await;
    assert_eq!(answers.iter().filter(|a| a.status.as_u16() == 201).count(), 1, "one alone");
    assert!(answers.iter().all(|a| matches!(a.status.as_u16(), 201 | 409)));
    let replace = make("replace").await;
    let first = world.api.run(&replace, json!({})).await;
    world.api.run(&replace, json!({})).await;
    assert_eq!(world.api.finished(&replace, &first).await["status"], "cancelled");
    let path = format!("/pipelines/{replace}/run");
    let answers = futures::future::join_all((0..4).map(|_| world.api.post(&path, &empty))).await;
    assert!(answers.iter().all(|a| a.status.as_u16() == 201), "whoever comes last replaces the others: {answers:?}");
    assert_eq!(world.stack.services().store.live_runs("acme", &replace).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_pipeline_leaves_nothing_behind() {
    let world = World::new().await;
    world.file("people.csv", "id,name,born\n1,a,\nx,b,\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    let run = world.run(&id).await["id"].as_str().unwrap().to_owned();
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    world.api.get(&format!("/pipelines/{id}/runs/{run}")).await.expect(404);
    world.api.get(&format!("/pipelines/{id}/runs/{run}/errors")).await.expect(404);
    let deadline = tokio::time::Instant::now() + tests::DEADLINE;
    while world.stack.services().store.find_run("acme", &id, &run).await.unwrap().is_some()
        || world.stack.services().store.is_deleted("acme", &id).await.unwrap()
    {
        assert!(tokio::time::Instant::now() < deadline, "not purged in time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
