//! MySQL (as MariaDB speaks it): its types both ways, load modes, ranges, and what its errors say.

use super::{by_id, connector, pipeline, rejected};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{self, Maria};

#[tokio::test]
async fn every_type_of_mysql_is_read_exactly_and_what_cannot_be_is_rejected() {
    let Some(mut db) = Maria::new().await else { return };
    db.run(
        "CREATE TABLE `all ``types` (id bigint, tiny tinyint, utiny tinyint unsigned, flag tinyint(1), medium mediumint,
           u int unsigned, big bigint unsigned, money decimal(38,6), huge decimal(60,2), single float, twice double, day date, local datetime(6),
           instant timestamp(6) NULL, clock time(3), y year, short varchar(20), long_text longtext, raw varbinary(10),
           doc json, kind enum('a','b'), tags set('x','y'), bits bit(9), onebit bit(1), pad char(5)) CHARACTER SET utf8mb4",
    )
    .await;
    db.run(
        "INSERT INTO `all ``types` VALUES (1, -128, 255, 1, -8388608, 4294967295, 18446744073709551615,
           -12345678901234567890123456789012.123456, 12345678901234567890.12, 1.5, 0.1, '2024-02-29', '2026-01-15 09:00:00.123456',
           '2026-01-15 07:00:00.5', '-12:34:56.789', 2026, 'äß€😀', 'tab\\tline\\n\"q\" \\\\', x'00ff10', '{\"a\": \"ü\"}', 'b', 'x,y',
           b'100000001', b'1', 'ab')",
    )
    .await;
    db.run("INSERT INTO `all ``types` (id) VALUES (2)").await;
    db.run("INSERT INTO `all ``types` (id, day) VALUES (3, '0000-00-00')").await;
    db.run("INSERT INTO `all ``types` (id, local) VALUES (4, '2026-00-01 00:00:00')").await;
    db.run("INSERT INTO `all ``types` (id, flag) VALUES (5, 7)").await;
    db.run("INSERT INTO `all ``types` (id, huge) VALUES (6, 1e40)").await;
    let world = World::new().await;
    let query = "SELECT * FROM `all ``types` ORDER BY id # all\n;";
    let id = connector(&world, "my", &db.server, &db.name, json!({"query": query})).await;
    let test = world.api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200).json();
    assert!(test["ok"] == true && test["detail"].as_str().unwrap().contains("has 25 columns"), "{test}");
    let field = |name: &str, kind: &str| json!({"name": name, "dataType": kind});
    let decimal = |name: &str, precision: u8, scale: u8| json!({"name": name, "dataType": "decimal", "precision": precision, "scale": scale});
    let fields = json!([
        field("id", "bigint"),
        field("tiny", "smallint"),
        field("utiny", "smallint"),
        field("flag", "boolean"),
        field("medium", "integer"),
        field("u", "bigint"),
        decimal("big", 20, 0),
        decimal("money", 38, 6),
        decimal("huge", 38, 2),
        field("single", "real"),
        field("twice", "double"),
        field("day", "date"),
        field("local", "timestamp"),
        field("instant", "timestamptz"),
        field("clock", "text"),
        field("y", "integer"),
        field("short", "text"),
        field("long_text", "text"),
        field("raw", "text"),
        field("doc", "json"),
        field("kind", "text"),
        field("tags", "text"),
        field("bits", "integer"),
        field("onebit", "boolean"),
        field("pad", "text")
    ]);
    let schema = world.schema("every", fields).await;
    let copy = world.copy(&id, &schema).await;
    let run = world.run(&copy).await;
    assert_eq!((&run["rowsOut"], &run["failedRows"]), (&json!(2), &json!(4)), "{run}");
    let is = |row: u64, column: &str, value: &str| (row, column.to_owned(), Some(value.to_owned()));
    assert_eq!(
        rejected(&world, &copy, &run).await,
        [
            is(3, "day", "0000-00-00"),
            is(4, "local", "2026-00-01"),
            is(5, "flag", "7"),
            is(6, "huge", "10000000000000000000000000000000000000000.00"),
        ]
    );
    let rows = by_id(&world, &schema).await;
    assert_eq!(
        rows[0],
        json!({
            "id": 1, "tiny": -128, "utiny": 255, "flag": true, "medium": -8388608, "u": 4294967295_u64,
            "big": "18446744073709551615", "money": "-12345678901234567890123456789012.123456",
            "huge": "12345678901234567890.12", "single": 1.5, "twice": 0.1, "day": "2024-02-29",
            "local": "2026-01-15T09:00:00.123456Z", "instant": "2026-01-15T07:00:00.500Z", "clock": "-12:34:56.789", "y": 2026,
            "short": "äß€😀", "long_text": "tab\tline\n\"q\" \\", "raw": "00ff10", "doc": rows[0]["doc"],
            "kind": "b", "tags": "x,y", "bits": 257, "onebit": true, "pad": "ab",
        })
    );
    assert!(rows[1].as_object().unwrap().iter().all(|(name, value)| name == "id" || value.is_null()), "{}", rows[1]);
}

#[tokio::test]
async fn every_type_is_written_to_mysql_and_read_back_the_same() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    let fields = json!([
        {"name": "id", "dataType": "bigint", "isPrimaryKey": true},
        {"name": "small", "dataType": "smallint"}, {"name": "money", "dataType": "decimal", "precision": 38, "scale": 6},
        {"name": "single", "dataType": "real"}, {"name": "twice", "dataType": "double"}, {"name": "yes", "dataType": "boolean"},
        {"name": "day", "dataType": "date"}, {"name": "local", "dataType": "timestamp"},
        {"name": "instant", "dataType": "timestamptz"}, {"name": "short", "dataType": "varchar", "length": 20},
        {"name": "long", "dataType": "text"}, {"name": "doc", "dataType": "json"}, {"name": "uid", "dataType": "uuid"}
    ]);
    world.file(
        "rows.jsonl",
        [
            json!({"id": 1, "small": -5, "money": "-12345678901234567890123456789012.123456", "single": 0.1, "twice": 1e300,
                "yes": true, "day": "2024-02-29", "local": "2026-01-15T09:00:00.123456", "instant": "2026-01-15T09:00:00.5+02:00",
                "short": "äß€😀", "long": "tab\tline\n\"q\" \\ 'x' \u{0}", "doc": {"a": "ü\n"}, "uid": "0191D3A4-0000-7000-8000-00000000ABCD"}),
            json!({"id": 2}),
            json!({"id": 3, "instant": "1900-01-01T00:00:00Z"}),
            json!({"id": 4, "twice": "NaN"}),
        ]
        .map(|row| row.to_string())
        .join("\n"),
    );
    let columns = json!({"options": {"columns": {"twice": "double"}}});
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let schema = world.schema("every", fields.clone()).await;
    let back = world.schema("back", fields).await;
    for (mode, local_infile) in [("append", "ON"), ("truncate", "OFF")] {
        // Both ways in: LOAD DATA, and INSERTs where the server does not take it.
        db.run(&format!("SET GLOBAL local_infile = {local_infile}")).await;
        let write =
            pipeline(&world, &files, &schema, columns.clone(), json!({"connectorId": shop, "loadMode": mode})).await;
        let run = world.run(&write).await;
        assert_eq!((&run["rowsOut"], &run["failedRows"]), (&json!(2), &json!(2)), "{run}");
        let bad: Vec<_> =
            rejected(&world, &write, &run).await.into_iter().map(|(row, column, _)| (row, column)).collect();
        assert_eq!(bad, [(3, "instant".to_owned()), (4, "twice".to_owned())]);
        let read = pipeline(&world, &shop, &back, json!({"table": "every"}), json!({"loadMode": "truncate"})).await;
        assert_eq!(world.run(&read).await["rowsOut"], 2);
        let rows = by_id(&world, &back).await;
        assert_eq!(
            rows[0],
            json!({
                "id": 1, "small": -5, "money": "-12345678901234567890123456789012.123456", "single": rows[0]["single"],
                "twice": 1e300, "yes": true, "day": "2024-02-29", "local": "2026-01-15T09:00:00.123456Z",
                "instant": "2026-01-15T07:00:00.500Z", "short": "äß€😀", "long": "tab\tline\n\"q\" \\ 'x' \u{0}",
                "doc": rows[0]["doc"], "uid": "0191d3a4-0000-7000-8000-00000000abcd",
            })
        );
        assert!((rows[0]["single"].as_f64().unwrap() - 0.1).abs() < 1e-6, "{}", rows[0]);
        assert_eq!(rows[1]["doc"], Value::Null);
    }
    db.run("SET GLOBAL local_infile = ON").await;
    let types = "SELECT GROUP_CONCAT(COLUMN_TYPE ORDER BY ORDINAL_POSITION) FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'every'";
    assert_eq!(
        db.texts(types).await,
        [
            "bigint(20),smallint(6),decimal(38,6),float,double,tinyint(1),date,datetime(6),timestamp(6),varchar(20),longtext,longtext,char(36)"
        ]
    );
}

#[tokio::test]
async fn load_modes_of_mysql_do_what_they_say() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let fields =
        json!([{"name": "id", "dataType": "integer", "isPrimaryKey": true}, {"name": "name", "dataType": "text"}]);
    let schema = world.schema("people", fields).await;
    let of = async |mode: Value| {
        let mut target = json!({"connectorId": shop});
        target.as_object_mut().unwrap().extend(mode.as_object().unwrap().clone());
        pipeline(&world, &files, &schema, json!({}), target).await
    };
    let write = |text: &str| world.file("rows.jsonl", text);
    let all = "SELECT GROUP_CONCAT(CONCAT(id, name) ORDER BY id, name SEPARATOR ' ') FROM people";
    let (append, upsert) = (of(json!({"loadMode": "append"})).await, of(json!({"loadMode": "upsert"})).await);
    let truncate = of(json!({"loadMode": "truncate"})).await;
    write("{\"id\": 1, \"name\": \"a\"}\n{\"id\": 2, \"name\": \"b\"}\n");
    assert_eq!(world.run(&append).await["status"], "completed");
    let run = world.run(&append).await;
    assert!(
        run["error"]["code"] == "TARGET_ERROR" && run["error"]["message"].as_str().unwrap().contains("Duplicate entry"),
        "{run}"
    );
    write("{\"id\": 2, \"name\": \"B\"}\n{\"id\": 3, \"name\": \"c\"}\n{\"id\": 3, \"name\": \"d\"}\n");
    let run = world.run(&upsert).await;
    assert_eq!((&run["rowsOut"], &run["skippedRows"]), (&json!(2), &json!(1)), "{run}");
    assert_eq!(db.texts(all).await, ["1a 2B 3d"]);
    write("{\"id\": 9, \"name\": \"B\"}\n{\"id\": 4, \"name\": \"e\"}\n{\"id\": 5, \"name\": \"b\"}\n");
    let by_name = of(json!({"loadMode": "upsert", "upsertKey": ["name"]})).await;
    assert_eq!(world.run(&by_name).await["status"], "completed");
    assert_eq!(db.texts(all).await, ["1a 3d 4e 5b 9B"]);
    // A table of somebody else, in which letters' case makes no difference: two keys must not become one row.
    db.run("ALTER TABLE people MODIFY name varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").await;
    let run = world.run(&by_name).await;
    assert!(run["error"]["message"].as_str().unwrap().contains("collation"), "{run}");
    write("{\"id\": 7, \"name\": \"z\"}\n");
    assert_eq!(world.run(&truncate).await["status"], "completed");
    assert_eq!(db.texts(all).await, ["7z"]);
    write("");
    assert_eq!(world.run(&truncate).await["status"], "failed");
    assert_eq!(db.texts(all).await, ["7z"]);
}

#[tokio::test]
async fn a_table_of_mysql_without_transactions_is_refused() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    world.file("rows.jsonl", "{\"id\": 1}\n{\"id\": 2}\n");
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let to = async |table: &str| {
        pipeline(&world, &files, &schema, json!({}), json!({"connectorId": shop, "table": table})).await
    };
    let (copy, named) = (to("people").await, to(&format!("{}.people", db.name)).await);
    for engine in ["MyISAM", "Aria", "MEMORY"] {
        db.run(&format!("CREATE OR REPLACE TABLE people (id int) ENGINE = {engine}")).await;
        for (pipeline, name) in [(&copy, "`people`".to_owned()), (&named, format!("`{}`.`people`", db.name))] {
            let run = world.run(pipeline).await;
            assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TARGET_ERROR")), "{run}");
            let message = run["error"]["message"].as_str().unwrap();
            assert!(message.contains("people\" cannot be written"), "{message}");
            assert!(message.contains(&format!("its engine {engine} has no transactions")), "{message}");
            assert!(message.contains(&format!("by ALTER TABLE {name} ENGINE=InnoDB")), "{message}");
            assert_eq!(db.texts("SELECT COUNT(*) FROM people").await, ["0"]);
        }
    }
    // As the message says; and a view, which has no engine.
    db.run("ALTER TABLE people ENGINE=InnoDB").await;
    db.run("CREATE VIEW persons AS SELECT id FROM people").await;
    for pipeline in [copy, named, to("persons").await] {
        let run = world.run(&pipeline).await;
        assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(2)), "{run}");
    }
    assert_eq!(db.texts("SELECT COUNT(*) FROM people").await, ["6"]);
}

#[tokio::test]
async fn ranges_of_mysql_read_each_row_once() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE n (id int PRIMARY KEY, k int, name varchar(20), at datetime)").await;
    db.run("INSERT INTO n SELECT seq, IF(seq % 7 = 0, NULL, seq * 3), CONCAT('row ', seq), '2026-01-01' + INTERVAL seq MINUTE FROM seq_1_to_20000").await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "n"})).await;
    for (index, partitioning) in [
        json!({"strategy": "range", "column": "k", "count": 5}),
        json!({"strategy": "range", "column": "at", "count": 3}),
        json!({"strategy": "hash", "columns": ["name"], "count": 4}),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = world.schema(&format!("n{index}"), json!([{"name": "id", "dataType": "integer"}])).await;
        let body = json!({"name": "n", "connectorId": shop, "schemaId": schema, "executionConfig": {"partitioning": partitioning}});
        let pipeline = world.api.create("/pipelines", &body).await;
        let run = world.run(&pipeline).await;
        assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(20000)), "{run}");
        let mut ids: Vec<_> = world.api.rows(&schema).await.iter().map(|r| r["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=20000), "{partitioning}");
    }
}

#[tokio::test]
async fn errors_of_mysql_say_what_is_wrong_and_never_the_password() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE customers (id int)").await;
    let world = World::new().await;
    let schema = world.schema("s", json!([{"name": "id", "dataType": "integer"}])).await;
    let (_deaf, port) = servers::deaf_port();
    for (name, more, password, code, words) in [
        ("wrong", json!({}), "Geheim 123", "SOURCE_ERROR", "refuses the user"),
        ("table", json!({"table": "custmers"}), servers::PASSWORD, "SOURCE_ERROR", "did you mean \"customers\"?"),
        ("base", json!({"database": "nowhere"}), servers::PASSWORD, "SOURCE_ERROR", "no database \"nowhere\""),
        ("tls", json!({"sslMode": "require"}), servers::PASSWORD, "SOURCE_ERROR", "sslMode"),
        ("port", json!({"port": port}), servers::PASSWORD, "SOURCE_UNAVAILABLE", "Connection refused"),
    ] {
        let mut config =
            json!({"host": "127.0.0.1", "port": db.server.port, "database": db.name, "table": "customers"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let auth = json!({"username": servers::USER, "password": password});
        let body =
            json!({"name": name, "type": "mysql", "config": config, "authMethod": "password", "authConfig": auth});
        let id = world.api.create("/connectors", &body).await;
        let copy = pipeline(&world, &id, &schema, json!({}), json!({})).await;
        let run = world.run(&copy).await;
        assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!(code)), "{run}");
        assert!(run["error"]["message"].as_str().unwrap().contains(words), "{name}: {run}");
        assert!(!run.to_string().contains(password), "{run}");
    }
}
