//! Pages of a table neither lose nor repeat rows, and values are written as the API says.

use super::*;
use crate::error::Kind;
use crate::targets::Position;
use datafusion::arrow::array::Float64Array;

async fn page(world: &World, limit: usize, position: Option<Position>) -> (Vec<String>, Option<Position>, Option<u64>) {
    let request = PageRequest { limit, bytes: usize::MAX, position, include_total: true };
    let page = read_page("acme", &world.schema, &world.settings, request).await.unwrap();
    let ids = page.rows.iter().map(|row| row.get("id").unwrap().to_string()).collect();
    (ids, page.next, page.total)
}

#[tokio::test]
async fn pages_hold_while_other_runs_commit() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "a"), (2, "b"), (3, "c")])]).await.unwrap();
    world.run("run_2", append(), &[people(1, &[(4, "d"), (5, "e")])]).await.unwrap();
    let (ids, next, total) = page(&world, 2, None).await;
    assert_eq!((ids, total), (vec!["1".to_owned(), "2".to_owned()], Some(5)));
    world.run("run_3", truncate(), &[people(1, &[(6, "f")])]).await.unwrap();
    let (ids, next, total) = page(&world, 2, next).await;
    assert_eq!((ids, total), (vec!["3".to_owned(), "4".to_owned()], Some(5)));
    let (ids, next, _) = page(&world, 2, next).await;
    assert_eq!((ids, next), (vec!["5".to_owned()], None));
    assert_eq!(page(&world, 2, None).await.0, ["6"]);
}

#[tokio::test]
async fn a_page_that_ends_with_the_table_has_no_next() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "a"), (2, "b")])]).await.unwrap();
    assert_eq!(page(&world, 2, None).await.1, None);
}

#[tokio::test]
async fn many_rows_come_back_page_by_page_in_their_order() {
    let world = World::customers();
    let rows: Vec<(i64, &str)> = (0..20_000).map(|id| (id, "x")).collect();
    world.run("run_1", append(), &[people(1, &rows)]).await.unwrap();
    let (mut all, mut position) = (Vec::new(), None);
    loop {
        let (ids, next, _) = page(&world, 4_999, position).await;
        all.extend(ids.into_iter().map(|id| id.parse::<i64>().unwrap()));
        position = next;
        if position.is_none() {
            break;
        }
    }
    assert_eq!(all, (0..20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn values_are_written_as_json() {
    let world = World::new(json!([
        { "name": "amount", "dataType": "decimal", "precision": 10, "scale": 2 },
        { "name": "ratio", "dataType": "double" },
        { "name": "share", "dataType": "real" },
        { "name": "day", "dataType": "date" },
        { "name": "local", "dataType": "timestamp" },
        { "name": "at", "dataType": "timestamptz" },
        { "name": "fine", "dataType": "boolean" },
        { "name": "more", "dataType": "json" },
        { "name": "none", "dataType": "text" },
    ]));
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let batch = RecordBatch::try_from_iter([
        ("amount", text("-1.5")),
        ("ratio", Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef),
        ("share", text("0.1")),
        ("day", text("2026-01-15")),
        ("local", text("2026-01-15 09:00")),
        ("at", text("2026-01-15T09:00:00.123456+01:00")),
        ("fine", text("TRUE")),
        ("more", text("{\"a\": [1]}")),
    ])
    .unwrap();
    world.run("run_1", append(), &[batch]).await.unwrap();
    let expected = json!({
        "amount": "-1.50", "ratio": null, "share": 0.1, "day": "2026-01-15", "local": "2026-01-15T09:00:00.000Z",
        "at": "2026-01-15T08:00:00.123456Z", "fine": true, "more": "{\"a\": [1]}", "none": null,
    });
    assert_eq!(Value::Object(world.rows().await.remove(0)), expected);
}

#[tokio::test]
async fn a_page_ends_where_its_rows_have_so_many_bytes() {
    let world = World::new(json!([{ "name": "id", "dataType": "bigint" }, { "name": "name", "dataType": "text" }]));
    let wide = "\"".repeat(1_000);
    let rows: Vec<(i64, &str)> = (0..100).map(|id| (id, wide.as_str())).collect();
    world.run("run_1", append(), &[people(1, &rows)]).await.unwrap();
    let read = async |bytes, position| {
        let request = PageRequest { limit: 500, bytes, position, include_total: false };
        read_page("acme", &world.schema, &world.settings, request).await
    };
    let (mut position, mut ids) = (None, Vec::new());
    loop {
        // Each quote is quoted in the row, and both bytes once more in the answer.
        let page = read(10_000, position).await.unwrap();
        assert_eq!(page.rows.len(), 2);
        ids.extend(page.rows.iter().map(|row| row["id"].as_i64().unwrap()));
        position = page.next;
        if position.is_none() {
            break;
        }
    }
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    let error = read(4_000, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Target);
    assert!(error.message.contains("has more than the 4000 bytes of a page"), "{}", error.message);
}
