//! PostgreSQL: its types both ways, load modes, ranges, and what its errors say.

use super::{by_id, connector, pipeline, rejected};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{self, Postgres};

/// A field of each type, with a key.
fn every_field() -> Value {
    json!([
        {"name": "id", "dataType": "bigint", "isPrimaryKey": true},
        {"name": "small", "dataType": "smallint"}, {"name": "whole", "dataType": "integer"},
        {"name": "money", "dataType": "decimal", "precision": 38, "scale": 6},
        {"name": "single", "dataType": "real"}, {"name": "twice", "dataType": "double"},
        {"name": "yes", "dataType": "boolean"}, {"name": "day", "dataType": "date"},
        {"name": "local", "dataType": "timestamp"}, {"name": "instant", "dataType": "timestamptz"},
        {"name": "short", "dataType": "varchar", "length": 20}, {"name": "long", "dataType": "text"},
        {"name": "doc", "dataType": "json"}, {"name": "uid", "dataType": "uuid"}
    ])
}

#[tokio::test]
async fn every_type_of_postgresql_is_read_exactly_and_what_cannot_be_is_rejected() {
    let Some(db) = Postgres::new().await else { return };
    db.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN cents AS numeric(12,4);
         CREATE TABLE \"All \"\"Types\" (id bigint, small smallint, whole integer, money numeric(38,6), single real,
           twice double precision, yes boolean, day date, local timestamp, instant timestamptz, short varchar(20),
           long text, doc jsonb, uid uuid, raw bytea, mood mood, tags text[], clock time, span interval, price cents,
           any_number numeric, net inet, pad char(3), plain json);
         INSERT INTO \"All \"\"Types\" VALUES
           (1, -32768, -2147483648, -12345678901234567890123456789012.123456, 1.5, 0.1, true, '0044-03-15 BC',
            '2026-01-15 09:00:00.123456', '2026-01-15 09:00:00.5+02', 'äß€😀', E'tab\\tline\\n\"q\"', '{\"b\": [1, null], \"a\": \"ü\"}',
            '0191d3a4-0000-7000-8000-00000000abcd', '\\x00ff10', 'ok', '{a,NULL,\"c d\"}', '12:34:56.7', '1 mon 2 days 03:04:05',
            1.2345, 12345678901234567890.0123456789, '10.0.0.1/8', 'ab', '{\"k\" : 1}'),
           (2, 32767, 2147483647, 0.000001, 'Infinity', 'NaN', false, '9999-12-31', '0001-01-01', '1969-12-31 23:59:59.999999Z',
            '', '', '[]', '00000000-0000-0000-0000-000000000000', '', 'sad', '{}', '00:00', '-1 day', -0.5, -1, '::1', '', 'null'),
           (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL);
         INSERT INTO \"All \"\"Types\" (id, local) VALUES (4, 'infinity');
         INSERT INTO \"All \"\"Types\" (id, instant) VALUES (5, '-infinity');
         INSERT INTO \"All \"\"Types\" (id, money) VALUES (6, 'NaN');
         INSERT INTO \"All \"\"Types\" (id, any_number) VALUES (7, 1e30);
         INSERT INTO \"All \"\"Types\" (id, day) VALUES (8, 'infinity');
         INSERT INTO \"All \"\"Types\" (id) VALUES (9);",
    )
    .await;
    let world = World::new().await;
    let id = connector(
        &world,
        "pg",
        &db.server,
        &db.name,
        json!({"query": "SELECT * FROM \"All \"\"Types\" ORDER BY id -- all\n;"}),
    )
    .await;
    let test = world.api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200).json();
    assert!(test["ok"] == true && test["detail"].as_str().unwrap().contains("has 24 columns"), "{test}");
    let mut fields = every_field();
    for name in ["raw", "mood", "tags", "clock", "span", "net", "pad", "plain"] {
        fields.as_array_mut().unwrap().push(json!({"name": name, "dataType": "text"}));
    }
    for (name, precision, scale) in [("price", 12, 4), ("any_number", 30, 10)] {
        let field = json!({"name": name, "dataType": "decimal", "precision": precision, "scale": scale});
        fields.as_array_mut().unwrap().push(field);
    }
    let schema = world.schema("every", fields).await;
    let copy = world.copy(&id, &schema).await;
    let run = world.run(&copy).await;
    assert_eq!(
        (&run["status"], &run["rowsOut"], &run["failedRows"]),
        (&json!("completed_with_errors"), &json!(4), &json!(5)),
        "{run}"
    );
    let said = |row: u64, column: &str, value: &str| (row, column.to_owned(), Some(value.to_owned()));
    assert_eq!(
        rejected(&world, &copy, &run).await,
        [
            said(4, "local", "infinity"),
            said(5, "instant", "-infinity"),
            said(6, "money", "NaN"),
            said(7, "any_number", "1000000000000000000000000000000"),
            said(8, "day", "infinity"),
        ]
    );
    let rows = by_id(&world, &schema).await;
    assert_eq!(
        rows[0],
        json!({
            "id": 1, "small": -32768, "whole": -2147483648_i64, "money": "-12345678901234567890123456789012.123456",
            "single": 1.5, "twice": 0.1, "yes": true, "day": "-0043-03-15", "local": "2026-01-15T09:00:00.123456Z",
            "instant": "2026-01-15T07:00:00.500Z", "short": "äß€😀", "long": "tab\tline\n\"q\"",
            "doc": rows[0]["doc"], "uid": "0191d3a4-0000-7000-8000-00000000abcd", "raw": "00ff10", "mood": "ok",
            "tags": "[\"a\",null,\"c d\"]", "clock": "12:34:56.7", "span": "1 mon 2 days 03:04:05", "price": "1.2345",
            "any_number": "12345678901234567890.0123456789", "net": "10.0.0.1/8", "pad": "ab ", "plain": "{\"k\" : 1}",
        })
    );
    assert!(rows[0]["doc"].to_string().contains('ü'), "{}", rows[0]);
    assert_eq!(
        (&rows[1]["short"], &rows[1]["twice"], &rows[1]["money"]),
        (&json!(""), &json!(null), &json!("0.000001"))
    );
    assert!(rows[2].as_object().unwrap().iter().all(|(name, value)| name == "id" || value.is_null()), "{}", rows[2]);
}

#[tokio::test]
async fn every_type_is_written_to_postgresql_and_read_back_the_same() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    let rows = [
        json!({"id": 1, "small": -32768, "whole": 2147483647, "money": "-12345678901234567890123456789012.123456",
            "single": 1.5, "twice": 0.1, "yes": true, "day": "2024-02-29", "local": "2026-01-15T09:00:00.123456",
            "instant": "2026-01-15T09:00:00.5+02:00", "short": "äß€😀", "long": "tab\tline\n\"q\" \\ 'x'",
            "doc": {"b": [1, null], "a": "ü"}, "uid": "0191D3A4-0000-7000-8000-00000000ABCD"}),
        json!({"id": 2, "small": 0, "money": "0.000001", "single": -0.25, "twice": 1e300, "yes": false, "day": "0001-01-01",
            "local": "9999-12-31T23:59:59.999999", "instant": "1900-01-01T00:00:00Z", "short": "", "long": ""}),
        json!({"id": 3}),
        json!({"id": 4, "long": "zero\u{0}"}),
        json!({"id": 5, "doc": {"a": "\u{0}"}}),
        json!({"id": 6, "short": "far more than twenty characters"}),
        json!({"small": 1}),
    ];
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    world.file("rows.jsonl", lines.join("\n"));
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let schema = world.schema("every", every_field()).await;
    let write = pipeline(&world, &files, &schema, json!({}), json!({"connectorId": shop, "table": "Übung"})).await;
    // A table that does not hold what comes is refused before anything is read.
    db.run("CREATE SCHEMA old; CREATE TABLE old.\"Übung\" (id bigint, small smallint, whole date)").await;
    let wrong = pipeline(&world, &files, &schema, json!({}), json!({"connectorId": shop, "table": "old.Übung"})).await;
    let run = world.run(&wrong).await;
    let said = run["error"]["message"].as_str().unwrap();
    assert!(run["error"]["code"] == "TARGET_ERROR" && said.contains("\"whole\" is date"), "{run}");
    let run = world.run(&write).await;
    assert_eq!(
        (&run["status"], &run["rowsOut"], &run["failedRows"]),
        (&json!("completed_with_errors"), &json!(3), &json!(4)),
        "{run}"
    );
    let bad: Vec<_> = rejected(&world, &write, &run).await.into_iter().map(|(row, column, _)| (row, column)).collect();
    let is = |row: u64, column: &str| (row, column.to_owned());
    assert_eq!(bad, [is(4, "long"), is(5, "doc"), is(6, "short"), is(7, "id")]);
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = '\"Übung\"'::regclass AND attnum > 0";
    assert_eq!(
        db.texts(types).await,
        ["bigint,smallint,integer,numeric(38,6),real,double precision,boolean,date,timestamp without time zone,\
          timestamp with time zone,character varying(20),text,jsonb,uuid"]
    );
    assert_eq!(
        db.texts("SET TimeZone = 'UTC'; SELECT concat_ws('|', money, twice, day, local, instant, short, doc, uid) FROM \"Übung\" ORDER BY id").await[0],
        "-12345678901234567890123456789012.123456|0.1|2024-02-29|2026-01-15 09:00:00.123456|2026-01-15 07:00:00.5+00|äß€😀|\
         {\"a\": \"ü\", \"b\": [1, null]}|0191d3a4-0000-7000-8000-00000000abcd"
    );
    assert_eq!(db.texts("SELECT long FROM \"Übung\" WHERE id = 1").await, ["tab\tline\n\"q\" \\ 'x'"]);
    // Back into the lake.
    let back = world.schema("back", every_field()).await;
    let read = pipeline(&world, &shop, &back, json!({"table": "Übung"}), json!({})).await;
    assert_eq!(world.run(&read).await["rowsOut"], 3);
    let rows = by_id(&world, &back).await;
    assert_eq!(
        (&rows[0]["money"], &rows[0]["instant"]),
        (&json!("-12345678901234567890123456789012.123456"), &json!("2026-01-15T07:00:00.500Z"))
    );
    assert_eq!(
        (&rows[1]["twice"], &rows[1]["local"], &rows[1]["instant"]),
        (&json!(1e300), &json!("9999-12-31T23:59:59.999999Z"), &json!("1900-01-01T00:00:00.000Z"))
    );
    assert_eq!(rows[2]["day"], Value::Null);
}

#[tokio::test]
async fn load_modes_of_postgresql_do_what_they_say() {
    let Some(db) = Postgres::new().await else { return };
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
    let all = "SELECT string_agg(id || name, ' ' ORDER BY id, name) FROM people";
    let (append, truncate) = (of(json!({"loadMode": "append"})).await, of(json!({"loadMode": "truncate"})).await);
    let upsert = of(json!({"loadMode": "upsert"})).await;
    write("{\"id\": 1, \"name\": \"a\"}\n{\"id\": 2, \"name\": \"b\"}\n");
    assert_eq!(world.run(&append).await["status"], "completed");
    // The same keys again: the table refuses them, and nothing is written.
    let run = world.run(&append).await;
    assert!(
        run["error"]["code"] == "TARGET_ERROR" && run["error"]["message"].as_str().unwrap().contains("people_pkey"),
        "{run}"
    );
    write("{\"id\": 2, \"name\": \"B\"}\n{\"id\": 3, \"name\": \"c\"}\n{\"id\": 3, \"name\": \"d\"}\n");
    let run = world.run(&upsert).await;
    assert_eq!((&run["rowsOut"], &run["skippedRows"]), (&json!(2), &json!(1)), "{run}");
    assert_eq!(db.texts(all).await, ["1a 2B 3d"]);
    // By a column without an index, the other columns of the table stay.
    db.run("ALTER TABLE people ADD note text DEFAULT 'new'; UPDATE people SET note = 'old'").await;
    write("{\"id\": 9, \"name\": \"B\"}\n{\"id\": 4, \"name\": \"e\"}\n");
    let by_name = of(json!({"loadMode": "upsert", "upsertKey": ["name"]})).await;
    assert_eq!(world.run(&by_name).await["status"], "completed");
    let notes = "SELECT string_agg(id || name || note, ' ' ORDER BY id, name) FROM people";
    assert_eq!(db.texts(notes).await, ["1aold 3dold 4enew 9Bold"]);
    write("{\"id\": 7, \"name\": \"z\"}\n");
    assert_eq!(world.run(&truncate).await["status"], "completed");
    assert_eq!(db.texts(all).await, ["7z"]);
    write("");
    let run = world.run(&truncate).await;
    assert_eq!(run["status"], "failed", "nothing must not replace a table: {run}");
    assert_eq!(db.texts(all).await, ["7z"]);
    assert_eq!(db.texts("SELECT count(*) FROM flowgate_runs WHERE state = 'committed'").await, ["4"]);
    db.until("SELECT count(*) FROM pg_class WHERE relname LIKE 'flowgate_s%'", "0").await;
}

#[tokio::test]
async fn a_nightly_upsert_brings_a_postgresql_table_into_the_lake() {
    let Some(db) = Postgres::new().await else { return };
    db.run(
        "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, state text, paid numeric(10,2)); \
            INSERT INTO shop.orders VALUES (1, 'new', 1.10), (2, 'new', 2.20)",
    )
    .await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "shop.orders"})).await;
    let fields = json!([{"name": "id", "dataType": "integer", "isPrimaryKey": true}, {"name": "state", "dataType": "text"},
        {"name": "paid", "dataType": "decimal", "precision": 10, "scale": 2}]);
    let schema = world.schema("orders", fields).await;
    let nightly = pipeline(&world, &shop, &schema, json!({}), json!({"loadMode": "upsert"})).await;
    assert_eq!(world.run(&nightly).await["rowsOut"], 2);
    db.run("UPDATE shop.orders SET state = 'sent' WHERE id = 2; INSERT INTO shop.orders VALUES (3, 'new', 3)").await;
    assert_eq!(world.run(&nightly).await["status"], "completed");
    let rows = by_id(&world, &schema).await;
    assert_eq!(rows[1], json!({"id": 2, "state": "sent", "paid": "2.20"}));
    assert_eq!((rows.len(), &rows[2]["paid"]), (3, &json!("3.00")));
}

#[tokio::test]
async fn ranges_and_hashes_read_each_row_once_in_one_snapshot() {
    let Some(db) = Postgres::new().await else { return };
    db.run("CREATE TABLE n AS SELECT i AS id, CASE WHEN i % 7 = 0 THEN NULL ELSE i * 3 END AS k, \
            'row ' || i AS name, timestamp '2026-01-01' + i * interval '1 minute' AS at FROM generate_series(1, 20000) i").await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "n"})).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "k", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    for (index, partitioning) in [
        json!({"strategy": "range", "column": "k", "count": 7}),
        json!({"strategy": "range", "column": "at", "count": 3}),
        json!({"strategy": "range", "column": "name", "count": 3}),
        json!({"strategy": "hash", "columns": ["k", "name"], "count": 4}),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = world.schema(&format!("n{index}"), fields.clone()).await;
        let body = json!({"name": "n", "connectorId": shop, "schemaId": schema,
            "executionConfig": {"partitioning": partitioning, "parallelism": 3}});
        let pipeline = world.api.create("/pipelines", &body).await;
        let run = world.run(&pipeline).await;
        assert_eq!(
            (&run["status"], &run["rowsIn"], &run["rowsOut"]),
            (&json!("completed"), &json!(20000), &json!(20000)),
            "{run}"
        );
        let progress = format!("/pipelines/{pipeline}/runs/{}/progress", run["id"].as_str().unwrap());
        let progress = world.api.get(&progress).await.expect(200).json();
        assert!(progress["partitions"].as_u64().unwrap() >= 3, "{progress}");
        let mut ids: Vec<_> = world.api.rows(&schema).await.iter().map(|r| r["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=20000), "{partitioning}");
    }
    let schema = world.schema("missing", fields).await;
    let body = json!({"name": "n", "connectorId": shop, "schemaId": schema,
        "executionConfig": {"partitioning": {"strategy": "range", "column": "nmae", "count": 2}}});
    let pipeline = world.api.create("/pipelines", &body).await;
    let run = world.run(&pipeline).await;
    assert!(run["error"]["message"].as_str().unwrap().contains("did you mean \"name\""), "{run}");
}

#[tokio::test]
async fn errors_of_postgresql_say_what_is_wrong_and_never_the_password() {
    let Some(db) = Postgres::new().await else { return };
    db.run("CREATE TABLE customers (id int, name text); CREATE ROLE guest LOGIN PASSWORD 'guest'").await;
    let world = World::new().await;
    let schema = world.schema("s", json!([{"name": "id", "dataType": "integer"}])).await;
    let (_deaf, port) = servers::deaf_port();
    let config = |more: Value| {
        let mut config =
            json!({"host": "127.0.0.1", "port": db.server.port, "database": db.name, "table": "customers"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let auth = |user: &str, password: &str| json!({"username": user, "password": password});
    let right = auth(servers::USER, servers::PASSWORD);
    let cases = [
        (
            "wrong",
            config(json!({})),
            auth(servers::USER, "Geheim 123"),
            "SOURCE_ERROR",
            "password authentication failed",
        ),
        ("guest", config(json!({})), auth("guest", "guest"), "SOURCE_ERROR", "permission denied"),
        ("table", config(json!({"table": "custmers"})), right.clone(), "SOURCE_ERROR", "did you mean \"customers\"?"),
        ("base", config(json!({"database": "nowhere"})), right.clone(), "SOURCE_ERROR", "no database \"nowhere\""),
        ("tls", config(json!({"sslMode": "require"})), right.clone(), "SOURCE_ERROR", "sslMode"),
        ("port", config(json!({"port": port})), right.clone(), "SOURCE_UNAVAILABLE", "Connection refused"),
        (
            "host",
            config(json!({"host": "no-such-host.invalid"})),
            right.clone(),
            "SOURCE_UNAVAILABLE",
            "no-such-host.invalid",
        ),
    ];
    for (name, config, auth, code, words) in cases {
        let body =
            json!({"name": name, "type": "postgresql", "config": config, "authMethod": "password", "authConfig": auth});
        let id = world.api.create("/connectors", &body).await;
        let copy = pipeline(&world, &id, &schema, json!({}), json!({})).await;
        let run = world.run(&copy).await;
        assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!(code)), "{run}");
        assert!(run["error"]["message"].as_str().unwrap().contains(words), "{name}: {run}");
        let test = world.api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200);
        assert_eq!(test.json()["ok"], false, "{}", test.text);
        let secret = auth["password"].as_str().unwrap();
        assert!(name == "guest" || !(run.to_string() + &test.text).contains(secret), "{run} {}", test.text);
    }
    let query = |query: &str| json!({"query": query});
    for (index, (query, words)) in [
        (query("SELECT idd FROM customers"), "column \"idd\" does not exist"),
        (query("DELETE FROM customers RETURNING id"), "says"),
        (query("SELECT 1 AS id) s) TO STDOUT; DROP TABLE customers; --"), "says"),
        (query("SELECT id, name AS id FROM customers"), "two columns are named \"id\""),
        (query("SELECT $1::int AS id"), "parameters"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = connector(&world, &format!("q{index}"), &db.server, &db.name, json!({})).await;
        let copy = pipeline(&world, &id, &schema, query, json!({})).await;
        let run = world.run(&copy).await;
        assert!(run["status"] == "failed" && run["error"]["message"].as_str().unwrap().contains(words), "{run}");
    }
    assert_eq!(db.texts("SELECT count(*) FROM customers").await, ["0"]);
}
