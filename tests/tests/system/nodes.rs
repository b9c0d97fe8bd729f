//! One graph of many node types: its rows, its counts, and what is said when it is saved.

use serde_json::{Value, json};
use tests::World;

/// orders → validate → lookup → branch → (large: sql with customers, small: pivot) → union → target.
fn graph(cities: &str, customers: &str) -> (Value, Value) {
    let nodes = json!([
        {"id": "orders", "nodeType": "source", "config": {}},
        {"id": "customers", "nodeType": "source", "config": {"connectorId": customers}},
        {"id": "checks", "nodeType": "validate", "config": {"rules": [
            {"id": "one id", "rule": "unique", "field": "id"},
            {"id": "amount", "rule": "range", "field": "amount", "params": {"min": 0, "max": "${most}"}},
            {"id": "mail", "rule": "email", "field": "mail", "onFail": "warn"},
            {"id": "enough", "rule": "rowCount", "params": {"min": 5}}
        ]}},
        {"id": "city", "nodeType": "transform", "config": {"ops": [
            {"op": "lookup", "connectorId": cities, "on": [{"left": "zip", "right": "zip"}], "select": ["city"]},
            {"op": "fill_null", "field": "city", "value": "nowhere"}
        ]}},
        {"id": "size", "nodeType": "branch", "config": {"routes": [{"label": "large", "condition": "amount >= 100"}], "else": "small"}},
        {"id": "query", "nodeType": "sql", "config": {"query":
            "SELECT c.name AS who, sum(l.amount) AS total FROM large l JOIN customers c ON c.id = l.customer GROUP BY c.name"}},
        {"id": "wide", "nodeType": "pivot", "config": {"index": ["customer"], "columns": "city", "values": "amount", "fn": "sum"}},
        {"id": "name", "nodeType": "transform", "config": {"ops": [
            {"op": "expression", "field": "who", "expr": "'customer ' || CAST(customer AS VARCHAR)"}]}},
        {"id": "all", "nodeType": "union", "config": {}},
        {"id": "out", "nodeType": "target", "config": {}}
    ]);
    let edges = json!([
        {"source": "orders", "target": "checks"},
        {"source": "checks", "target": "city"},
        {"source": "city", "target": "size"},
        {"source": "size", "target": "query", "label": "large"},
        {"source": "customers", "target": "query", "label": "customers"},
        {"source": "size", "target": "wide", "label": "small"},
        {"source": "wide", "target": "name"},
        {"source": "query", "target": "all"},
        {"source": "name", "target": "all"},
        {"source": "all", "target": "out"}
    ]);
    (nodes, edges)
}

const ORDERS: &str = "id,customer,amount,zip,mail\n\
    1,7,150,10115,ada@example.org\n\
    2,8,20,80331,bob\n\
    2,8,21,80331,bob@example.org\n\
    3,7,-5,10115,ada@example.org\n\
    4,8,30,10115,bob@example.org\n\
    5,9,40,99999,\n\
    6,8,250,80331,bob@example.org\n\
    7,7,9999,10115,ada@example.org\n\
    8,8,5,80331,bob@example.org\n";

#[tokio::test]
async fn a_graph_of_many_node_types_gives_its_rows_and_counts_that_add_up() {
    let world = World::new().await;
    world.file("orders.csv", ORDERS);
    world.file("cities.csv", "zip,city\n10115,Berlin\n80331,Munich\n");
    world.file("customers.csv", "id,name\n7,Ada\n8,Bob\n9,Cid\n");
    let orders = world.connector("orders", "orders.csv").await;
    let cities = world.connector("cities", "cities.csv").await;
    let customers = world.connector("customers", "customers.csv").await;
    let field = |name: &str, kind: &str| json!({"name": name, "dataType": kind});
    let fields =
        [("who", "text"), ("total", "bigint"), ("Berlin", "bigint"), ("Munich", "bigint"), ("nowhere", "bigint")];
    let schema = world.schema("totals", fields.iter().map(|(name, kind)| field(name, kind)).collect()).await;
    let (nodes, edges) = graph(&cities, &customers);
    let body = json!({"name": "p", "connectorId": orders, "schemaId": schema, "nodes": nodes, "edges": edges});
    let id = world.api.create("/pipelines", &body).await;
    let run = world.api.run(&id, json!({"most": 1000})).await;
    let run = world.api.finished(&id, &run).await;
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    assert_eq!((&run["rowsIn"], &run["rowsOut"], &run["failedRows"]), (&json!(12), &json!(4), &json!(3)));

    let mut rows = world.api.rows(&schema).await;
    rows.sort_by_key(|row| row["who"].to_string());
    let row = |who: &str, total: Value, berlin: Value, munich: Value, nowhere: Value| json!({"who": who, "total": total, "Berlin": berlin, "Munich": munich, "nowhere": nowhere});
    let none = || Value::Null;
    assert_eq!(
        rows,
        [
            row("Ada", json!(150), none(), none(), none()),
            row("Bob", json!(250), none(), none(), none()),
            row("customer 8", none(), json!(30), json!(25), none()),
            row("customer 9", none(), none(), none(), json!(40)),
        ]
    );
    let path = format!("/pipelines/{id}/runs/{}", run["id"].as_str().unwrap());
    let progress = world.api.get(&format!("{path}/progress")).await.expect(200).json();
    let node = |name: &str| progress["nodes"].as_array().unwrap().iter().find(|n| n["name"] == name).unwrap().clone();
    let counts = |name: &str| {
        let node = node(name);
        ["rowsIn", "rowsOut", "filtered", "rejected", "deduplicated"].map(|count| node[count].as_u64().unwrap())
    };
    assert_eq!(counts("orders"), [9, 9, 0, 0, 0]);
    assert_eq!(counts("checks"), [9, 6, 0, 3, 0]);
    assert_eq!(counts("city"), [6, 6, 0, 0, 0]);
    assert_eq!(counts("size"), [6, 6, 0, 0, 0]);
    assert_eq!(counts("query"), [5, 2, 0, 0, 0]);
    assert_eq!(counts("wide"), [4, 2, 0, 0, 0]);
    assert_eq!(counts("out"), [4, 4, 0, 0, 0]);
    assert_eq!(node("checks")["warnings"], json!([{"rule": "mail", "rows": 1}]));
    let errors = world.api.get(&format!("{path}/errors")).await.expect(200).json();
    let told = |row: u64| errors["data"].as_array().unwrap().iter().find(|e| e["row"] == row).unwrap()["error"].clone();
    assert_eq!(
        told(3),
        "rule \"one id\" (unique): must be unique, and an earlier row of this run has it too (in orders.csv)"
    );
    assert_eq!(
        (told(4), told(8)),
        (
            json!("rule \"amount\" (range): must be 0 to 1000 (in orders.csv)"),
            json!("rule \"amount\" (range): must be 0 to 1000 (in orders.csv)")
        )
    );

    // A connector that a lookup names is in use.
    world.api.delete(&format!("/connectors/{cities}")).await.expect(409);
}

#[tokio::test]
async fn faults_of_these_nodes_are_told_all_at_once_when_they_are_saved() {
    let world = World::new().await;
    let connector = world.connector("orders", "orders.csv").await;
    let schema = world.schema("totals", json!([{"name": "who", "dataType": "text"}])).await;
    let (mut nodes, mut edges) = graph("conn_nowhere", &connector);
    nodes[2]["config"]["rules"][1]["params"] = json!({"min": 5, "max": 1});
    nodes[4]["config"]["routes"][0]["condition"] = json!("amount >");
    nodes[5]["config"]["query"] = json!("SELECT * FROM large, customer");
    nodes[6]["config"]["fn"] = json!("summ");
    edges[5]["label"] = json!("smal");
    let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges});
    let answer = world.api.post("/pipelines", &body).await.expect(400);
    let pointers = answer.pointers();
    for pointer in [
        "/nodes/2/config/rules/1/params/max",
        "/nodes/3/config/ops/0/connectorId",
        "/nodes/4/config/routes/0/condition",
        "/nodes/4/config/else",
        "/nodes/5/config/query",
        "/nodes/6/config/fn",
        "/edges/4",
        "/edges/5/label",
    ] {
        assert!(pointers.iter().any(|found| found == pointer), "{pointer} in {}", answer.text);
    }
}
