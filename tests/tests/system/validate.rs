//! Pipelines that are checked before they run: all faults at once, and the columns of every edge.

use serde_json::{Value, json};
use shared::roles::Role;
use tests::World;

/// Orders and customers, joined, summed and written; answers the pipeline with its connector and schema.
async fn orders(world: &World) -> (String, String, String) {
    world.file("shop/orders.csv", "id,customer,amount\n1,1,2.50\n2,2,4\n3,1,1.25\n");
    world.file("shop/customers.csv", "id,name\n1,Ada\n2,Grace\n");
    let connector = world.connector("shop", "shop").await;
    let fields = json!([
        {"name": "name", "dataType": "varchar", "length": 50},
        {"name": "total", "dataType": "decimal", "precision": 12, "scale": 2},
        {"name": "orders", "dataType": "bigint"},
    ]);
    let schema = world.schema("totals", fields).await;
    let (nodes, edges) = graph();
    let body = json!({"name": "totals", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    (world.api.create("/pipelines", &body).await, connector, schema)
}

fn graph() -> (Value, Value) {
    let nodes = json!([
        {"id": "orders", "nodeType": "source", "config": {"path": "orders.csv"}},
        {"id": "customers", "nodeType": "source", "config": {"path": "customers.csv"}},
        {"id": "cast", "nodeType": "transform", "config": {"ops": [
            {"op": "cast", "field": "amount", "type": "decimal", "precision": 10, "scale": 2}
        ]}},
        {"id": "join", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "customer", "right": "id"}]}},
        {"id": "sum", "nodeType": "aggregate", "config": {"groupBy": ["name"], "measures": [
            {"fn": "sum", "field": "amount", "as": "total"}, {"fn": "count", "field": "*", "as": "orders"}
        ]}},
        {"id": "write", "nodeType": "target", "config": {"loadMode": "truncate"}}
    ]);
    let edges = json!([
        {"source": "orders", "target": "cast"},
        {"source": "cast", "target": "join", "label": "left"},
        {"source": "customers", "target": "join", "label": "right"},
        {"source": "join", "target": "sum"},
        {"source": "sum", "target": "write"}
    ]);
    (nodes, edges)
}

/// `pointer code` of each fault.
fn told(answer: &Value) -> Vec<String> {
    let faults = answer["faults"].as_array().unwrap().iter();
    faults.map(|f| format!("{} {}", f["pointer"].as_str().unwrap(), f["code"].as_str().unwrap())).collect()
}

/// `name type` of the columns of an edge or a node.
fn columns(of: &Value) -> Vec<String> {
    let columns = of["columns"].as_array().unwrap_or_else(|| panic!("no columns: {of}")).iter();
    columns.map(|c| format!("{} {}", c["name"].as_str().unwrap(), c["type"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_sound_pipeline_tells_the_columns_of_every_edge_and_makes_no_table() {
    let world = World::new().await;
    let (pipeline, ..) = orders(&world).await;
    let answer = world.api.post(&format!("/pipelines/{pipeline}/validate"), &json!({})).await.expect(200).json();
    let whole = (&answer["valid"], &answer["faults"], &answer["shortened"]);
    assert_eq!(whole, (&json!(true), &json!([]), &json!(false)), "{answer}");
    let stored = world.api.get(&format!("/pipelines/{pipeline}")).await.expect(200).json();
    let edges = answer["edges"].as_array().unwrap();
    for (edge, stored) in edges.iter().zip(stored["edges"].as_array().unwrap()) {
        for key in ["id", "source", "target", "label"] {
            assert_eq!(edge[key], stored[key], "{key}");
        }
    }
    assert_eq!(columns(&edges[0]), ["id bigint", "customer bigint", "amount double"]);
    assert_eq!(columns(&edges[1]), ["id bigint", "customer bigint", "amount decimal(10,2)"]);
    assert_eq!(columns(&edges[3])[3..], ["id_right bigint", "name text"]);
    assert_eq!(columns(&edges[4])[0], "name text");
    let target = answer["nodes"].as_array().unwrap().last().unwrap();
    assert_eq!(target["clientId"], "write");
    assert_eq!(columns(target), ["name varchar(50)", "total decimal(12,2)", "orders bigint"]);
    assert!(!world.stack.folder().lake().join("acme").exists(), "a check makes no table");
    // Without a body, too.
    let bare = world.api.send(reqwest::Method::POST, &format!("/pipelines/{pipeline}/validate"), &[], None).await;
    assert_eq!(bare.expect(200).json(), answer);
}

#[tokio::test]
async fn every_fault_is_told_at_once_before_anything_is_saved() {
    let world = World::new().await;
    let (pipeline, connector, schema) = orders(&world).await;
    let (mut nodes, edges) = graph();
    nodes[1]["config"]["path"] = json!("custommers.csv");
    nodes[2]["config"]["ops"] = json!([
        {"op": "cast", "field": "amuont", "type": "decimal"},
        {"op": "expression", "field": "tax", "expr": "amount * rate"},
        {"op": "expression", "field": "gross", "expr": "amount + tax"},
        {"op": "drop", "fields": ["nothing"]}
    ]);
    nodes[5]["config"] = json!({});
    let body = json!({"nodes": nodes, "edges": edges, "connectorId": connector, "schemaId": schema});
    let path = format!("/pipelines/{pipeline}/validate");
    let answer = world.api.post(&path, &body).await.expect(200).json();
    assert_eq!(answer["valid"], false);
    assert_eq!(
        told(&answer),
        [
            "/nodes/1/config/path source",
            "/nodes/2/config/ops/0/field not_found",
            "/nodes/2/config/ops/1/expr not_found",
            "/nodes/2/config/ops/3/fields/0 not_found",
        ],
        "{answer:#}"
    );
    let cast = &answer["faults"][1];
    assert_eq!(cast["nodeId"], "cast", "a node is named as it was sent");
    assert!(cast["detail"].as_str().unwrap().contains("did you mean \"amount\"?"), "{cast}");
    assert_eq!(answer["nodes"][1]["columns"], Value::Null, "what cannot be told is null");
    // What is stored is as it was.
    let stored = world.api.get(&format!("/pipelines/{pipeline}")).await.expect(200).json();
    assert_eq!((&stored["version"], &stored["nodes"][1]["config"]["path"]), (&json!(1), &json!("customers.csv")));
}

#[tokio::test]
async fn nodes_go_with_their_connectors_also_when_these_have_become_others() {
    let world = World::new().await;
    let (pipeline, connector, _) = orders(&world).await;
    let path = format!("/pipelines/{pipeline}");
    let (mut nodes, edges) = graph();
    nodes[0]["config"] = json!({"table": "orders"});
    let body = json!({"nodes": nodes, "edges": edges, "connectorId": null});
    let refused = world.api.post(&format!("{path}/validate"), &body).await.expect(400);
    assert_eq!(refused.pointers(), ["/nodes/0/config/table"], "as at save");
    world.api.put(&path, &json!({"nodes": nodes, "edges": edges})).await.expect(400);
    let config = json!({"host": "db", "database": "d", "table": "orders"});
    let database =
        json!({"type": "postgresql", "config": config, "authMethod": "password", "authConfig": {"username": "u"}});
    world.api.put(&format!("/connectors/{connector}"), &database).await.expect(200);
    let answer = world.api.post(&format!("{path}/validate"), &json!({"nodes": null})).await.expect(200).json();
    assert_eq!(answer["valid"], false);
    assert_eq!(told(&answer), ["/nodes/0 invalid", "/nodes/1 invalid"], "{answer:#}");
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("INVALID_PIPELINE")));
    let said = run["error"]["message"].as_str().unwrap();
    assert!(said.contains("path is not for the connector \"shop\", which is a database"), "{said}");
}

#[tokio::test]
async fn a_run_fails_with_the_sentences_that_a_check_told() {
    let world = World::new().await;
    let (pipeline, ..) = orders(&world).await;
    let (mut nodes, edges) = graph();
    nodes[2]["config"]["ops"] = json!([{"op": "trim", "fields": ["gone"]}]);
    nodes[4]["config"]["groupBy"] = json!(["nmae"]);
    world.api.put(&format!("/pipelines/{pipeline}"), &json!({"nodes": nodes, "edges": edges})).await.expect(200);
    let answer = world.api.post(&format!("/pipelines/{pipeline}/validate"), &json!({})).await.expect(200).json();
    let details: Vec<&str> =
        answer["faults"].as_array().unwrap().iter().map(|f| f["detail"].as_str().unwrap()).collect();
    // The target is behind the aggregate, whose column it does not get under that name.
    assert_eq!(details.len(), 2, "{answer:#}");
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("INVALID_PIPELINE")));
    assert_eq!(run["error"]["message"], details.join("; "));
}

#[tokio::test]
async fn parameters_are_read_and_asked_for() {
    let world = World::new().await;
    let (pipeline, ..) = orders(&world).await;
    let (mut nodes, edges) = graph();
    nodes[0]["config"]["path"] = json!("${file}");
    let path = format!("/pipelines/{pipeline}/validate");
    let mut body = json!({"nodes": nodes, "edges": edges});
    let answer = world.api.post(&path, &body).await.expect(200).json();
    assert_eq!(told(&answer), ["/nodes/0/config/path invalid"], "{answer:#}");
    body["parameters"] = json!({"file": "orders.csv"});
    assert_eq!(world.api.post(&path, &body).await.expect(200).json()["valid"], true);
}

#[tokio::test]
async fn a_pipeline_without_nodes_is_checked_as_the_copy_that_it_is() {
    let world = World::new().await;
    world.file("in.csv", "a,b\n1,2\n");
    let connector = world.connector("in", "in.csv").await;
    let schema = world.schema("t", json!([{"name": "c", "dataType": "integer"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let answer = world.api.post(&format!("/pipelines/{pipeline}/validate"), &json!({})).await.expect(200).json();
    assert_eq!(told(&answer), ["/schemaId invalid"], "{answer:#}");
    let other = world.schema("u", json!([{"name": "a", "dataType": "integer"}])).await;
    let answer = world.api.post(&format!("/pipelines/{pipeline}/validate"), &json!({"schemaId": other})).await;
    assert_eq!(answer.expect(200).json()["valid"], true);
}

#[tokio::test]
async fn bodies_roles_and_tenants_are_checked_as_everywhere() {
    let world = World::new().await;
    let (pipeline, ..) = orders(&world).await;
    let body = json!({"nodes": [{"id": "s", "nodeType": "sauce", "config": {}}], "connectorId": "conn_x", "limt": 3});
    for way in ["validate", "preview"] {
        let path = format!("/pipelines/{pipeline}/{way}");
        let pointers = world.api.post(&path, &body).await.expect(400).pointers();
        for pointer in ["/connectorId", "/limt", "/nodes/0/nodeType"] {
            assert!(pointers.iter().any(|p| p == pointer), "{pointer} is not in {pointers:?}");
        }
        world.api(Role::Viewer, "acme").post(&path, &json!({})).await.expect(403);
        world.api(Role::Admin, "acme").post(&path, &json!({})).await.expect(200);
        world.api(Role::Admin, "other").post(&path, &json!({})).await.expect(404);
        world.api.post(&format!("/pipelines/pipe_none/{way}"), &json!({})).await.expect(404);
    }
}

#[tokio::test]
async fn what_wide_nodes_tell_is_short_enough_for_an_answer() {
    let world = World::new().await;
    let names: Vec<String> = (0..500).map(|i| format!("c{i}_{}", "x".repeat(1000))).collect();
    world.file("wide.csv", format!("n,{}\n1{}\n", names.join(","), ",2".repeat(names.len())));
    let connector = world.connector("wide", "wide.csv").await;
    let schema = world.schema("narrow", json!([{"name": "n", "dataType": "integer"}])).await;
    let mut nodes = vec![json!({"id": "read", "nodeType": "source", "config": {}})];
    nodes.extend(
        (1..=6).map(|i| json!({"id": format!("f{i}"), "nodeType": "filter", "config": {"condition": "n > 0"}})),
    );
    nodes.push(json!({"id": "write", "nodeType": "target", "config": {}}));
    let edges = nodes.windows(2).map(|pair| json!({"source": pair[0]["id"], "target": pair[1]["id"]}));
    let edges: Vec<Value> = edges.collect();
    let body = json!({"name": "w", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    let pipeline = world.api.create("/pipelines", &body).await;
    let asked = async |way: &str, body: Value| {
        let answer = world.api.post(&format!("/pipelines/{pipeline}/{way}"), &body).await.expect(200);
        // In what Lambda answers, 6 MB at most, the body is a text.
        let bytes = serde_json::to_string(&answer.text).unwrap().len();
        assert!(bytes < 6 << 20, "{way}: {bytes} bytes");
        answer.json()
    };
    let widths = |of: &Value| -> Vec<Option<usize>> {
        of.as_array().unwrap().iter().map(|of| of["columns"].as_array().map(Vec::len)).collect()
    };

    let answer = asked("validate", json!({})).await;
    assert_eq!((&answer["valid"], &answer["shortened"]), (&json!(true), &json!(true)));
    // There is no room for one more.
    let told: Vec<Option<usize>> = [vec![Some(501); 7], vec![Some(1)]].concat();
    assert_eq!(widths(&answer["nodes"]), told);
    assert_eq!(widths(&answer["edges"]), vec![None; 7]);

    let answer = asked("preview", json!({})).await;
    assert_eq!((&answer["faults"], &answer["shortened"]), (&json!([]), &json!(true)));
    let told: Vec<Option<usize>> = [vec![Some(501); 3], vec![Some(0); 4], vec![Some(1)]].concat();
    assert_eq!(widths(&answer["nodes"]), told);
    for (node, told) in answer["nodes"].as_array().unwrap().iter().zip(told) {
        assert_eq!(node["rows"].as_array().map(Vec::len), Some(1));
        let is_cut = node["note"].as_str().is_some_and(|note| note.contains("`nodeId` asks for one node alone"));
        assert_eq!(is_cut, told == Some(0), "{}", node["note"]);
    }
    let answer = asked("preview", json!({"nodeId": "f6"})).await;
    assert_eq!((widths(&answer["nodes"]), &answer["shortened"]), (vec![Some(501)], &json!(false)));
}
