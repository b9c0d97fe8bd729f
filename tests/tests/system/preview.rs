//! Previews: what each node gives of the first rows, with nothing written.

use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};
use tests::World;

/// A pipeline over a file of `rows` numbered rows.
async fn numbers(world: &World, rows: usize) -> String {
    let mut text = String::with_capacity(rows * 24);
    text.push_str("n,name,amount\n");
    for n in 1..=rows {
        writeln!(text, "{n},row {n},{}.5", n % 100).unwrap();
    }
    world.file("numbers.csv", text);
    let connector = world.connector("numbers", "numbers.csv").await;
    let fields = json!([
        {"name": "n", "dataType": "integer"},
        {"name": "amount", "dataType": "decimal", "precision": 6, "scale": 2},
        {"name": "name", "dataType": "varchar", "length": 7},
    ]);
    let schema = world.schema("numbers", fields).await;
    let nodes = json!([
        {"id": "read", "nodeType": "source", "config": {}},
        {"id": "even", "nodeType": "filter", "config": {"condition": "n % ${by} = 0"}},
        {"id": "write", "nodeType": "target", "config": {}}
    ]);
    let edges = json!([{"source": "read", "target": "even"}, {"source": "even", "target": "write"}]);
    let body = json!({"name": "n", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    world.api.create("/pipelines", &body).await
}

fn node<'a>(answer: &'a Value, client_id: &str) -> &'a Value {
    let nodes = answer["nodes"].as_array().unwrap();
    nodes
        .iter()
        .find(|node| node["clientId"] == client_id)
        .unwrap_or_else(|| panic!("{client_id} is not in {answer:#}"))
}

#[tokio::test]
async fn each_node_shows_its_rows_and_a_target_what_it_would_write() {
    let world = World::new().await;
    let pipeline = numbers(&world, 2500).await;
    let body = json!({"limit": 2, "parameters": {"by": 100}});
    let answer = world.api.post(&format!("/pipelines/{pipeline}/preview"), &body).await.expect(200).json();
    assert_eq!(answer["faults"], json!([]), "{answer:#}");
    let read = node(&answer, "read");
    assert_eq!((&read["rowsIn"], &read["rowsOut"], &read["sampled"]), (&json!(1000), &json!(1000), &json!(true)));
    assert_eq!(read["rows"][0]["n"], 1);
    assert_eq!(read["rows"].as_array().unwrap().len(), 2);
    let even = node(&answer, "even");
    assert_eq!((&even["rowsIn"], &even["rowsOut"]), (&json!(1000), &json!(10)));
    let write = node(&answer, "write");
    assert_eq!(write["rows"][0], json!({"n": 100, "amount": "0.50", "name": "row 100"}));
    assert_eq!(write["columns"][1]["type"], "decimal(6,2)");
    assert_eq!((&write["rowsIn"], &write["rowsOut"]), (&json!(10), &json!(9)));
    let rejected = &write["rejected"][0];
    assert_eq!(
        (&rejected["row"], &rejected["column"], &rejected["value"]),
        (&json!(1000), &json!("name"), &json!("row 1000"))
    );
}

#[tokio::test]
async fn a_preview_of_a_large_file_is_fast_and_writes_nothing() {
    let world = World::new().await;
    let pipeline = numbers(&world, 1_000_000).await;
    let begun = Instant::now();
    let body = json!({"parameters": {"by": 2}});
    let answer = world.api.post(&format!("/pipelines/{pipeline}/preview"), &body).await.expect(200).json();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(node(&answer, "read")["rowsIn"], 1000, "no more than the sample is read");
    assert_eq!(node(&answer, "write")["rows"].as_array().unwrap().len(), 20);
    assert!(!world.stack.folder().lake().join("acme").exists(), "no table is made");
    let runs = world.api.get(&format!("/pipelines/{pipeline}/runs")).await.expect(200).json();
    assert_eq!(runs["data"], json!([]), "a preview is no run");
}

#[tokio::test]
async fn one_node_is_shown_by_either_of_its_ids_also_before_it_is_saved() {
    let world = World::new().await;
    let pipeline = numbers(&world, 10).await;
    let path = format!("/pipelines/{pipeline}/preview");
    let stored = world.api.get(&format!("/pipelines/{pipeline}")).await.expect(200).json();
    for id in [&stored["nodes"][1]["id"], &json!("even")] {
        let body = json!({"nodeId": id, "parameters": {"by": 5}});
        let answer = world.api.post(&path, &body).await.expect(200).json();
        let nodes = answer["nodes"].as_array().unwrap();
        assert_eq!((nodes.len(), &nodes[0]["rowsOut"]), (1, &json!(2)), "{answer:#}");
    }
    let body = json!({"nodeId": "evn", "parameters": {"by": 5}});
    let answer = world.api.post(&path, &body).await.expect(400);
    assert_eq!(answer.pointers(), ["/nodeId"]);
    assert!(answer.text.contains("did you mean"), "{}", answer.text);
    let (mut nodes, edges) = (stored["nodes"].clone(), stored["edges"].clone());
    nodes[1]["config"]["condition"] = json!("n > 8");
    let answer = world.api.post(&path, &json!({"nodes": nodes, "edges": edges})).await.expect(200).json();
    assert_eq!(node(&answer, "even")["rowsOut"], 2, "the sent graph is worked, not the stored one");
}

#[tokio::test]
async fn faults_are_told_beside_what_can_be_shown() {
    let world = World::new().await;
    let pipeline = numbers(&world, 10).await;
    let answer = world.api.post(&format!("/pipelines/{pipeline}/preview"), &json!({})).await.expect(200).json();
    assert_eq!(answer["faults"][0]["pointer"], "/nodes/1/config/condition", "{answer:#}");
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 1, "only the source is before the fault");
}
