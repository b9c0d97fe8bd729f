//! What a table of a database can hold: a value that it cannot rejects its row, and never ends the run.

use super::{connector, pipeline, rejected};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{Maria, Postgres, Server};

/// Writes rows into the table of `schema` by `target`; the run, and what it rejected.
async fn write(
    world: &World,
    shop: &str,
    (name, schema): (&str, &str),
    target: Value,
    rows: &[Value],
) -> (Value, Vec<(u64, String, Option<String>)>) {
    let path = format!("{name}.jsonl");
    let files = world
        .api
        .create(
            "/connectors",
            &json!({"name": format!("files {}", uuid::Uuid::new_v4()), "type": "local_fs", "config": {"path": path}}),
        )
        .await;
    world.file(&path, rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
    let mut config = json!({"connectorId": shop});
    config.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    let write = pipeline(world, &files, schema, json!({}), config).await;
    let run = world.run(&write).await;
    let bad = rejected(world, &write, &run).await;
    (run, bad)
}

/// Brings people by their id, some with a mail that another one has.
async fn unique_values(world: &World, server: &Server, database: &str) {
    let shop = connector(world, "shop", server, database, json!({})).await;
    let fields = json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "mail", "dataType": "varchar", "length": 100, "isUnique": true}, {"name": "note", "dataType": "text"}
    ]);
    let schema = world.schema("people", fields).await;
    let row = |id: u32, mail: Value| json!({"id": id, "mail": mail, "note": "x"});
    let upsert = json!({"loadMode": "upsert"});
    let first = [row(1, json!("a")), row(2, json!("b")), row(3, json!(null)), row(4, json!(null))];
    let (run, _) = write(world, &shop, ("people", &schema), upsert.clone(), &first).await;
    assert_eq!(run["rowsOut"], 4, "{run}");
    // Its own value again, a new one, one that another row has, a null, and one that another row gives up at the same time.
    let second = [row(1, json!("a")), row(2, json!("c")), row(5, json!("a")), row(6, json!(null)), row(7, json!("b"))];
    let (run, bad) = write(world, &shop, ("people", &schema), upsert, &second).await;
    assert_eq!((&run["rowsOut"], &run["failedRows"]), (&json!(3), &json!(2)), "{run}");
    let is = |row: u64, value: &str| (row, "mail".to_owned(), Some(value.to_owned()));
    assert_eq!(bad, [is(3, "a"), is(5, "b")]);
    // Also where rows are added.
    let third = [row(8, json!("c")), row(9, json!("d"))];
    let (run, bad) = write(world, &shop, ("people", &schema), json!({}), &third).await;
    assert_eq!((&run["rowsOut"], bad), (&json!(1), vec![is(1, "c")]), "{run}");
}

const PEOPLE: &str = "SELECT CONCAT(id, COALESCE(mail, '-')) FROM people ORDER BY id";

#[tokio::test]
async fn a_unique_value_of_another_row_of_postgresql_rejects_the_one_that_brings_it() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    unique_values(&world, &db.server, &db.name).await;
    assert_eq!(db.texts(PEOPLE).await, ["1a", "2c", "3-", "4-", "6-", "9d"]);
    let unique = "SELECT count(*)::text FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'u'";
    assert_eq!(db.texts(unique).await, ["1"]);
}

#[tokio::test]
async fn a_unique_value_of_another_row_of_mysql_rejects_the_one_that_brings_it() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    unique_values(&world, &db.server, &db.name).await;
    assert_eq!(db.texts(PEOPLE).await, ["1a", "2c", "3-", "4-", "6-", "9d"]);
}

#[tokio::test]
async fn a_text_that_a_column_of_mysql_cannot_hold_rejects_its_row() {
    let Some(mut db) = Maria::new().await else { return };
    db.run(
        "CREATE TABLE texts (id int, short varchar(10) CHARACTER SET utf8mb3, west varchar(10) CHARACTER SET latin1,
           tiny tinytext CHARACTER SET utf8mb4, rest text CHARACTER SET latin1)",
    )
    .await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let field = |name: &str| json!({"name": name, "dataType": "text"});
    let fields = json!([
        {"name": "id", "dataType": "integer"}, field("short"), field("west"), field("tiny"), field("rest")
    ]);
    let schema = world.schema("texts", fields).await;
    let rows = [
        json!({"id": 1, "short": "äß€日", "west": "äß€", "tiny": "ä".repeat(127), "rest": "é".repeat(65_535)}),
        json!({"id": 2, "short": "😀"}),
        json!({"id": 3, "west": "日"}),
        json!({"id": 4, "tiny": "ä".repeat(128)}),
        json!({"id": 5, "rest": "é".repeat(65_536)}),
    ];
    for local_infile in ["ON", "OFF"] {
        db.run(&format!("SET GLOBAL local_infile = {local_infile}")).await;
        let (run, bad) = write(&world, &shop, ("texts", &schema), json!({"loadMode": "truncate"}), &rows).await;
        assert_eq!((&run["rowsOut"], &run["failedRows"]), (&json!(1), &json!(4)), "{run}");
        let bad: Vec<_> = bad.into_iter().map(|(row, column, _)| (row, column)).collect();
        let is = |row: u64, column: &str| (row, column.to_owned());
        assert_eq!(bad, [is(2, "short"), is(3, "west"), is(4, "tiny"), is(5, "rest")]);
        let kept = "SELECT CONCAT(short, west, CHAR_LENGTH(tiny), '/', CHAR_LENGTH(rest)) FROM texts";
        assert_eq!(db.texts(kept).await, ["äß€日äß€127/65535"]);
    }
    db.run("SET GLOBAL local_infile = ON").await;
}

#[tokio::test]
async fn a_table_of_mysql_with_many_wide_texts_is_made_and_too_long_a_key_is_said() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let wide = |n: usize| json!({"name": format!("f{n}"), "dataType": "varchar", "length": 2000});
    let mut fields = vec![json!({"name": "id", "dataType": "varchar", "length": 700, "isPrimaryKey": true})];
    fields.extend((0..30).map(wide));
    let schema = world.schema("wide", json!(fields)).await;
    let rows = [
        json!({"id": "a", "f0": "x".repeat(2000), "f29": "y".repeat(2001)}),
        json!({"id": "b", "f29": "z".repeat(2000)}),
    ];
    let (run, bad) = write(&world, &shop, ("wide", &schema), json!({}), &rows).await;
    assert_eq!((&run["rowsOut"], bad.len()), (&json!(1), 1), "{run}");
    assert_eq!(db.texts("SELECT CONCAT(id, CHAR_LENGTH(f29)) FROM wide").await, ["b2000"]);

    let key = |name: &str| json!({"name": name, "dataType": "varchar", "length": 500, "isPrimaryKey": true});
    let schema = world.schema("keys", json!([key("a"), key("b")])).await;
    let (run, _) = write(&world, &shop, ("keys", &schema), json!({}), &[json!({"a": "1", "b": "2"})]).await;
    let message = run["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("the primary key a, b may have 4004 bytes") && message.contains("smaller length"),
        "{run}"
    );
}

#[tokio::test]
async fn a_column_of_mysql_that_would_round_is_refused() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE rounds (id int, x double(10,2))").await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "x", "dataType": "double"}]);
    let schema = world.schema("rounds", fields).await;
    let (run, _) = write(&world, &shop, ("rounds", &schema), json!({}), &[json!({"id": 1, "x": 0.123})]).await;
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("its column \"x\" is double(10,2), which does not hold"), "{run}");
}
