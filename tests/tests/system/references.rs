//! What pipelines use: how much that may be, that it is free again once they do not, and what becomes of a save while it
//! changes or cannot be read.

use crate::watched::Watched;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::store::keys::{self, Key, Kind};
use tests::World;

async fn connectors(world: &World, prefix: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(world.connector(&format!("{prefix}{n}"), "in.csv").await);
    }
    ids
}

async fn schemas(world: &World, prefix: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(world.schema(&format!("{prefix}{n}"), json!([{"name": "age", "dataType": "integer"}])).await);
    }
    ids
}

/// A graph that reads all these connectors and writes `tables` tables whose names begin with `prefix`.
fn graph(connectors: &[String], prefix: &str, tables: usize) -> (Value, Value) {
    let source =
        |(n, id): (usize, &String)| json!({"id": format!("s{n}"), "nodeType": "source", "config": {"connectorId": id}});
    let target =
        |n: usize| json!({"id": format!("t{n}"), "nodeType": "target", "config": {"table": format!("{prefix}{n}")}});
    let mut nodes: Vec<Value> = connectors.iter().enumerate().map(source).collect();
    nodes.push(json!({"id": "u", "nodeType": "union", "config": {}}));
    nodes.extend((0..tables).map(target));
    let into = (0..connectors.len()).map(|n| json!({"source": format!("s{n}"), "target": "u"}));
    let out = (0..tables).map(|n| json!({"source": "u", "target": format!("t{n}")}));
    (json!(nodes), into.chain(out).collect())
}

#[tokio::test]
async fn a_pipeline_goes_from_as_much_as_it_may_use_to_as_much_else() {
    let world = World::with(|o| o.worker = false).await;
    let (old, new) = (connectors(&world, "old", 30).await, connectors(&world, "new", 30).await);
    let (before, after) = (schemas(&world, "before", 10).await, schemas(&world, "after", 10).await);
    let (nodes, edges) = graph(&old, "before", 10);
    let body = json!({
        "name": "p", "connectorId": old[0], "schemaId": before[0], "schedule": "@daily", "nodes": nodes, "edges": edges
    });
    let answer = world.api.post("/pipelines", &body).await.expect(400);
    assert_eq!(answer.pointers(), ["/nodes/40/config/table"], "the schema counts by its id, its table by its name");
    let (nodes, edges) = graph(&old, "before", 9);
    let body = json!({
        "name": "p", "connectorId": old[0], "schemaId": before[9], "schedule": "@daily", "nodes": nodes, "edges": edges
    });
    let id =
        world.api.post_once("/pipelines", "all", &body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let (nodes, edges) = graph(&new, "after", 9);
    let change = json!({
        "connectorId": new[0], "schemaId": after[9], "schedule": "@hourly", "nodes": nodes, "edges": edges
    });
    let path = format!("/pipelines/{id}");
    world.api.put(&path, &change).await.expect(200);
    for id in &old {
        world.api.delete(&format!("/connectors/{id}")).await.expect(204);
    }
    for id in &before {
        world.api.delete(&format!("/schemas/{id}")).await.expect(204);
    }
    for id in &new {
        assert_eq!(world.api.delete(&format!("/connectors/{id}")).await.expect(409).json()["code"], "IN_USE");
    }
    // One more connector than there may be, although the body itself names 30.
    let (nodes, edges) = graph(&new[1..], "after", 9);
    world.api.put(&path, &json!({"nodes": nodes, "edges": edges})).await.expect(200);
    let other = world.connector("other", "in.csv").await;
    let (nodes, edges) = graph(&[&new[1..], &[other]].concat(), "after", 9);
    let answer = world.api.put(&path, &json!({"nodes": nodes, "edges": edges})).await.expect(400);
    assert_eq!(answer.pointers(), ["/nodes/29/config/connectorId"]);
    world.api.delete(&path).await.expect(204);
    for id in &new {
        world.api.delete(&format!("/connectors/{id}")).await.expect(204);
    }
    for id in &after {
        world.api.delete(&format!("/schemas/{id}")).await.expect(204);
    }
}

async fn update(world: &World, key: Key, expression: &str, values: &[(&str, AttributeValue)]) {
    let client = Client::new(&local_config(&world.stack.table_endpoint()));
    let mut update = client
        .update_item()
        .table_name(&world.stack.services().config.table)
        .key("PK", AttributeValue::S(key.pk))
        .key("SK", AttributeValue::S(key.sk))
        .update_expression(expression);
    for name in ["version", "users"] {
        if expression.contains(&format!("#{name}")) {
            update = update.expression_attribute_names(format!("#{name}"), name);
        }
    }
    for (name, value) in values {
        update = update.expression_attribute_values(*name, value.clone());
    }
    update.send().await.unwrap();
}

/// What a change that was cut off after its first transaction leaves: the connector still counts the pipeline.
async fn cut_off(world: &World, pipeline: &str, connector: &str) {
    let number = |n: &str| AttributeValue::N(n.to_owned());
    let list = |ids: &[&str]| AttributeValue::L(ids.iter().map(|id| AttributeValue::S((*id).to_owned())).collect());
    let one = [(":one", number("1"))];
    update(world, keys::resource("acme", Kind::Connector, connector), "ADD #users :one", &one).await;
    update(world, keys::uses("acme", connector, pipeline), "SET made = :one", &one).await;
    let rest = [(":version", number("1")), (":connectors", list(&[connector])), (":schemas", list(&[]))];
    let expression = "SET #version = :version, connectors = :connectors, schemas = :schemas";
    update(world, keys::rest("acme", pipeline), expression, &rest).await;
}

#[tokio::test]
async fn what_a_change_that_was_cut_off_gave_up_is_free_after_the_next_one() {
    let world = World::with(|o| o.worker = false).await;
    let ids = connectors(&world, "c", 2).await;
    let schema = schemas(&world, "s", 1).await.remove(0);
    let pipeline = world.copy(&ids[0], &schema).await;
    let given_up = format!("/connectors/{}", ids[1]);
    cut_off(&world, &pipeline, &ids[1]).await;
    world.api.delete(&given_up).await.expect(409);
    // It takes it up again before it is free: it counts once.
    world.api.put(&format!("/pipelines/{pipeline}"), &json!({"connectorId": ids[1]})).await.expect(200);
    world.api.put(&format!("/pipelines/{pipeline}"), &json!({"connectorId": ids[0]})).await.expect(200);
    world.api.delete(&given_up).await.expect(204);

    let given_up = world.connector("again", "in.csv").await;
    cut_off(&world, &pipeline, &given_up).await;
    world.api.delete(&format!("/pipelines/{pipeline}")).await.expect(204);
    world.api.delete(&format!("/connectors/{given_up}")).await.expect(204);
}

#[tokio::test]
async fn a_table_that_throttles_is_not_taken_for_one_without_the_pipeline() {
    let world = World::with(|o| o.worker = false).await;
    let (connectors, schemas) = (connectors(&world, "c", 1).await, schemas(&world, "s", 2).await);
    let (nodes, edges) = graph(&connectors, "s", 2);
    let body =
        json!({"name": "p", "connectorId": connectors[0], "schemaId": schemas[0], "nodes": nodes, "edges": edges});
    let path = format!("/pipelines/{}", world.api.create("/pipelines", &body).await);
    // What is sent back means a schema that only the stored pipeline tells.
    world.api.put(&format!("/schemas/{}", schemas[1]), &json!({"name": "renamed"})).await.expect(200);
    let read = world.api.get(&path).await.expect(200).json();
    let watched = Watched::of(&world, None).await;
    watched.table().throttle(&keys::resources("acme", Kind::Pipeline));
    watched.api.put(&path, &read).await.expect(429);
    let graph = json!({"nodes": read["nodes"], "edges": read["edges"]});
    watched.api.post(&format!("{path}/validate"), &graph).await.expect(429);
    world.api.put(&path, &read).await.expect(200);
}

#[tokio::test]
async fn a_schema_that_is_renamed_while_a_pipeline_is_saved_is_the_one_that_was_meant() {
    let world = World::with(|o| o.worker = false).await;
    let (connectors, schemas) = (connectors(&world, "c", 1).await, schemas(&world, "s", 2).await);
    let watched = Watched::of(&world, None).await;
    let (nodes, edges) = graph(&connectors, "s", 2);
    let body =
        json!({"name": "p", "connectorId": connectors[0], "schemaId": schemas[0], "nodes": nodes, "edges": edges});
    let renamed = format!("/schemas/{}", schemas[1]);
    let rename = async |name: &str| {
        world.api.put(&renamed, &json!({ "name": name })).await.expect(200);
    };
    // It is found by its name, and has another one before anything else is read.
    let names = keys::name("acme", Kind::Schema, "s1").pk;
    let held = watched.table().hold(&names);
    let (made, ()) = tokio::join!(watched.api.post("/pipelines", &body), held.meanwhile(rename("other")));
    let path = format!("/pipelines/{}", made.expect(201).json()["id"].as_str().unwrap());
    world.api.delete(&renamed).await.expect(409);
    // So it is where a pipeline is changed.
    let (nodes, edges) = graph(&connectors, "s", 1);
    world.api.put(&path, &json!({"nodes": nodes, "edges": edges})).await.expect(200);
    rename("s1").await;
    let (nodes, edges) = graph(&connectors, "s", 2);
    let change = json!({"nodes": nodes, "edges": edges});
    let held = watched.table().hold(&names);
    let (changed, ()) = tokio::join!(watched.api.put(&path, &change), held.meanwhile(rename("other")));
    changed.expect(200);
    world.api.delete(&renamed).await.expect(409);
}

#[tokio::test]
async fn what_is_deleted_while_a_pipeline_is_saved_is_told_at_the_place_that_names_it() {
    let world = World::with(|o| o.worker = false).await;
    let (connectors, schemas) = (connectors(&world, "c", 3).await, schemas(&world, "s", 3).await);
    let watched = Watched::of(&world, None).await;
    let path = format!("/pipelines/{}", world.copy(&connectors[0], &schemas[0]).await);
    // Each is found by a text in a call, and gone before anything else is read.
    let [connector, schema] = [&connectors[1], &schemas[1]];
    let names = keys::name("acme", Kind::Schema, "s2").pk;
    let (nodes, edges) = graph(&connectors[..1], "s", 3);
    let tables = json!({"nodes": [nodes[0], nodes[1], nodes[4]], "edges": [edges[0], edges[3]]});
    for (change, text, gone, pointer) in [
        (json!({"connectorId": connector}), connector, format!("/connectors/{connector}"), "/connectorId"),
        (json!({"schemaId": schema}), schema, format!("/schemas/{schema}"), "/schemaId"),
        (tables, &names, format!("/schemas/{}", schemas[2]), "/nodes/2/config/table"),
    ] {
        let held = watched.table().hold(text);
        let delete = async {
            world.api.delete(&gone).await.expect(204);
        };
        let (answer, ()) = tokio::join!(watched.api.put(&path, &change), held.meanwhile(delete));
        assert_eq!(answer.expect(400).pointers(), [pointer]);
    }
    let (nodes, edges) = graph(&[connectors[0].clone(), connectors[2].clone()], "s", 1);
    let body =
        json!({"name": "p", "connectorId": connectors[0], "schemaId": schemas[0], "nodes": nodes, "edges": edges});
    let held = watched.table().hold(&connectors[2]);
    let delete = async {
        world.api.delete(&format!("/connectors/{}", connectors[2])).await.expect(204);
    };
    let (answer, ()) = tokio::join!(watched.api.post("/pipelines", &body), held.meanwhile(delete));
    assert_eq!(answer.expect(400).pointers(), ["/nodes/1/config/connectorId"]);
}
