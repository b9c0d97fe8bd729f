//! Pages of lists.

use serde_json::{Value, json};
use std::collections::HashSet;
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
    let page = world.api.get("/schemas?limit=2&includeTotal=true").await.expect(200).json();
    assert_eq!(page["pagination"]["total"], 3);
    let cursor = page["pagination"]["cursor"].as_str().unwrap();
    // Bound to its route and tenant, and not to be tampered with.
    world.api.get(&format!("/connectors?cursor={cursor}")).await.expect(400);
    world.api(shared::roles::Role::Admin, "other").get(&format!("/schemas?cursor={cursor}")).await.expect(400);
    let flipped: String = cursor.chars().rev().collect();
    world.api.get(&format!("/schemas?cursor={flipped}")).await.expect(400);
    let last = world.api.get(&format!("/schemas?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(last["pagination"], json!({"limit": 2, "hasMore": false, "cursor": Value::Null}));
    assert_eq!(last["data"].as_array().unwrap().len(), 1);
}
