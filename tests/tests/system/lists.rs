//! Pages of lists.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::store::keys;
use std::collections::{HashMap, HashSet};
use tests::World;

#[tokio::test]
async fn walking_while_items_come_and_go_repeats_and_loses_none() {
    let world = World::new().await;
    let mut stay = HashSet::new();
    let mut go = Vec::new();
    for i in 0..12 {
        let id = world.schema(&format!("s{i}"), json!([{"name": "a", "dataType": "text"}])).await;
        if i % 3 == 1 {
            go.push(id);
        } else {
            stay.insert(id);
        }
    }
    let (mut seen, mut cursor, mut page_no) = (Vec::new(), String::new(), 0);
    loop {
        let page = world.api.get(&format!("/schemas?limit=3{cursor}")).await.expect(200).json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()));
        // Between two pages one is deleted, and one is added.
        if let Some(id) = go.pop() {
            world.api.delete(&format!("/schemas/{id}")).await.expect(204);
        }
        world.schema(&format!("new{page_no}"), json!([{"name": "a", "dataType": "text"}])).await;
        page_no += 1;
        match page["pagination"]["cursor"].as_str() {
            None => break,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
    let unique: HashSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "repeated: {seen:?}");
    assert!(stay.is_subset(&unique), "lost: {:?}", stay.difference(&unique));
}

#[tokio::test]
async fn limits_and_cursors_are_checked() {
    let world = World::new().await;
    for i in 0..3 {
        world.schema(&format!("s{i}"), json!([{"name": "a", "dataType": "text"}])).await;
    }
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=garbage", "includeTotal=maybe"] {
        let answer = world.api.get(&format!("/schemas?{bad}")).await.expect(400);
        assert_eq!(answer.pointers(), [format!("?{}", bad.split('=').next().unwrap())]);
    }
    let both = world.api.get("/schemas?limit=0&includeTotal=maybe").await.expect(400);
    assert_eq!(both.pointers(), ["?limit", "?includeTotal"]);
    let runs = world.api.get(&format!("/pipelines/{}/runs?limit=0&status=done", tests::named::PIPELINE)).await;
    assert_eq!(runs.expect(400).pointers(), ["?status", "?limit"]);
    let (pipeline, schema) = (tests::named::PIPELINE, tests::named::SCHEMA);
    for list in [
        "/pipelines".to_owned(),
        "/connectors".to_owned(),
        "/schemas".to_owned(),
        format!("/pipelines/{pipeline}/versions"),
        format!("/pipelines/{pipeline}/fires"),
        format!("/pipelines/{pipeline}/runs"),
        format!("/pipelines/{pipeline}/runs/{}/errors", tests::named::RUN),
        format!("/schemas/{schema}/data"),
    ] {
        let all = world.api.get(&format!("{list}?cursor=garbage&includeTotal=maybe&limit=0")).await.expect(400);
        assert_eq!(all.pointers(), ["?limit", "?includeTotal", "?cursor"], "{list}");
    }
    let page = world.api.get("/schemas?limit=2&includeTotal=true").await.expect(200).json();
    assert_eq!(page["pagination"]["total"], 3);
    let cursor = page["pagination"]["cursor"].as_str().unwrap();
    let fine = world.api.get(&format!("/schemas?limit=0&cursor={cursor}")).await.expect(400);
    assert_eq!(fine.pointers(), ["?limit"]);
    // Bound to its route and tenant, and not to be tampered with.
    world.api.get(&format!("/connectors?cursor={cursor}")).await.expect(400);
    world.api(shared::roles::Role::Admin, "other").get(&format!("/schemas?cursor={cursor}")).await.expect(400);
    let flipped: String = cursor.chars().rev().collect();
    world.api.get(&format!("/schemas?cursor={flipped}")).await.expect(400);
    let last = world.api.get(&format!("/schemas?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(last["pagination"], json!({"limit": 2, "hasMore": false, "cursor": Value::Null}));
    assert_eq!(last["data"].as_array().unwrap().len(), 1);
}

/// Puts `count` failed runs of a kilobyte into the table, of which only what a count looks at is there.
async fn put_failed_runs(world: &World, pipeline: &str, count: usize) {
    let client = Client::new(&local_config(&world.stack.table_endpoint()));
    let table = &world.stack.services().config.table;
    let text = |text: String| AttributeValue::S(text);
    let put = |number: usize| {
        let key = keys::run("acme", pipeline, &format!("run_{number:032}"));
        let item = HashMap::from([("PK".to_owned(), text(key.pk)), ("SK".to_owned(), text(key.sk))]);
        let put = PutRequest::builder().set_item(Some(item)).item("status", text("failed".to_owned()));
        let put = put.item("progress", text("x".repeat(1000)));
        WriteRequest::builder().put_request(put.build().unwrap()).build()
    };
    let numbers: Vec<usize> = (0..count).collect();
    stream::iter(numbers.chunks(25))
        .for_each_concurrent(4, |numbers| {
            let writes: Vec<WriteRequest> = numbers.iter().map(|number| put(*number)).collect();
            let client = &client;
            async move {
                let answer = client.batch_write_item().request_items(table, writes).send().await.unwrap();
                assert!(answer.unprocessed_items.is_none_or(|left| left.is_empty()));
            }
        })
        .await;
}

#[tokio::test]
async fn counting_ends_at_ten_thousand_and_so_does_reading_for_it() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    put_failed_runs(&world, &pipeline, 11_500).await;
    let run = world.api.run(&pipeline, json!({})).await;
    let path = format!("/pipelines/{pipeline}/runs?limit=1&includeTotal=true");
    let page = world.api.get(&path).await.expect(200).json();
    assert_eq!(page["data"][0]["id"], json!(run), "{page}");
    let told = (&page["pagination"]["total"], &page["pagination"]["totalIsAtLeast"]);
    assert_eq!(told, (&json!(10_000), &json!(true)), "{page}");
    // What a filter leaves out is read all the same: the count of it ends, too, and says so.
    let page = world.api.get(&format!("{path}&status=completed")).await.expect(200).json();
    assert_eq!(page["data"], json!([]));
    assert_eq!(page["pagination"]["hasMore"], true, "a page ends after 1,000 items that were read");
    let told = (&page["pagination"]["total"], &page["pagination"]["totalIsAtLeast"]);
    assert_eq!(told, (&json!(0), &json!(true)), "{page}");
}

/// Fields of a schema of some 390 kB.
fn wide() -> Value {
    (0..195).map(|n| json!({"name": format!("f{n}"), "dataType": "text", "description": "d".repeat(1800)})).collect()
}

#[tokio::test]
async fn a_page_ends_at_four_megabytes_and_the_walk_goes_on() {
    let world = World::with(|o| o.worker = false).await;
    let mut made = HashSet::new();
    for n in 0..13 {
        made.insert(world.schema(&format!("s{n}"), wide()).await);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = world.api.get(&format!("/schemas?limit=100{cursor}")).await.expect(200);
        assert!(answer.text.len() < 5_000_000, "a page of {} bytes", answer.text.len());
        let page = answer.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["pagination"]["cursor"].as_str() {
            None => break,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
    assert_eq!((pages, seen.len()), (2, 13));
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), made);
}
