//! What fits a field, what does not, and what is said about it.

use super::*;
use datafusion::arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, ListArray, NullArray,
    StringViewArray, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::Int32Type;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Casts one column `v` to a field; the values that got through, and the reasons of those that did not.
pub(super) async fn cast(field: Value, column: ArrayRef) -> (Vec<Value>, Vec<String>) {
    let mut all = field;
    all["name"] = json!("v");
    let world = World::new(json!([all]));
    let mut attempt = world.open("run_1", append(), &[]).await.unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=column.len() as i64));
    let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true), (ROW_COLUMN, numbers, true)]).unwrap();
    world.stage(&mut attempt, &[vec![batch]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    let values = world.rows().await.into_iter().map(|mut row| row.remove("v").unwrap()).collect();
    let reasons = attempt.errors().into_iter().map(|e| format!("{}: {}", e.row.unwrap(), e.error)).collect();
    (values, reasons)
}

#[tokio::test]
async fn texts_become_numbers_exactly_or_not_at_all() {
    let (values, reasons) =
        cast(json!({ "dataType": "integer" }), texts(&["1", " +5 ", "abc", "3000000000", "1.5", "", "-7.0"])).await;
    assert_eq!(values, [json!(1), json!(5), json!(-7)]);
    assert_eq!(
        reasons,
        [
            "3: \"abc\" is not an integer",
            "4: \"3000000000\" is not an integer from -2147483648 to 2147483647",
            "5: \"1.5\" is not an integer",
            "6: \"\" is not an integer",
        ]
    );
    let decimal = json!({ "dataType": "decimal", "precision": 5, "scale": 2 });
    let (values, reasons) = cast(decimal, texts(&["1.50", "1.500", "1.505", "123.45", "1234.5", "1e2"])).await;
    assert_eq!(values, [json!("1.50"), json!("1.50"), json!("123.45"), json!("100.00")]);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let wide = json!({ "dataType": "decimal", "precision": 38, "scale": 0 });
    let (values, _) = cast(wide, texts(&["99999999999999999999999999999999999999"])).await;
    assert_eq!(values, [json!("99999999999999999999999999999999999999")]);
}

#[tokio::test]
async fn numbers_are_narrowed_without_rounding() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5, 1e18, 1e19, f64::NAN]));
    let (values, reasons) = cast(json!({ "dataType": "bigint" }), floats).await;
    assert_eq!(values, [json!(1), json!(1_000_000_000_000_000_000_i64)]);
    assert_eq!(reasons.len(), 3);
    let decimals: ArrayRef =
        Arc::new(Decimal128Array::from(vec![12_300, 12_345, 99_999_900]).with_precision_and_scale(10, 4).unwrap());
    let (values, reasons) =
        cast(json!({ "dataType": "decimal", "precision": 5, "scale": 2 }), Arc::clone(&decimals)).await;
    assert_eq!((values, reasons.len()), (vec![json!("1.23")], 2));
    let (values, reasons) = cast(json!({ "dataType": "smallint" }), decimals).await;
    assert_eq!((values, reasons.len()), (vec![], 3));
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![1, 40_000]));
    let (values, reasons) = cast(json!({ "dataType": "smallint" }), Arc::clone(&integers)).await;
    assert_eq!(
        (values, reasons),
        (vec![json!(1)], vec!["2: \"40000\" is not an integer from -32768 to 32767".to_owned()])
    );
    let (values, reasons) = cast(json!({ "dataType": "boolean" }), integers).await;
    assert_eq!((values, reasons.len()), (vec![json!(true)], 1));
    let huge: ArrayRef = Arc::new(Float64Array::from(vec![1e300, f64::INFINITY]));
    let (values, reasons) = cast(json!({ "dataType": "real" }), huge).await;
    assert_eq!((values, reasons.len()), (vec![Value::Null], 1));
}

#[tokio::test]
async fn times_keep_their_instant_and_dates_refuse_a_time_of_day() {
    let nanos: ArrayRef = Arc::new(
        TimestampNanosecondArray::from(vec![1_768_467_600_000_000_999, 1_768_435_200_000_000_000])
            .with_timezone("Europe/Berlin"),
    );
    let expected = [json!("2026-01-15T09:00:00.000Z"), json!("2026-01-15T00:00:00.000Z")];
    assert_eq!(cast(json!({ "dataType": "timestamptz" }), Arc::clone(&nanos)).await.0, expected);
    assert_eq!(cast(json!({ "dataType": "timestamp" }), Arc::clone(&nanos)).await.0, expected);
    let (values, reasons) = cast(json!({ "dataType": "date" }), nanos).await;
    assert_eq!((values, reasons.len()), (vec![json!("2026-01-15")], 1));
    let (values, reasons) =
        cast(json!({ "dataType": "date" }), texts(&["2026-01-15", "2026-01-15 00:00:00", "2026-13-01"])).await;
    assert_eq!((values.len(), reasons), (2, vec!["3: \"2026-13-01\" is not a date (YYYY-MM-DD)".to_owned()]));
}

#[tokio::test]
async fn texts_are_measured_in_characters() {
    let (values, reasons) = cast(json!({ "dataType": "varchar", "length": 3 }), texts(&["abc", "äöü", "abcd"])).await;
    assert_eq!(values, [json!("abc"), json!("äöü")]);
    assert_eq!(reasons, ["3: 4 characters where the field \"v\" takes 3"]);
    let booleans: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    assert_eq!(cast(json!({ "dataType": "text" }), booleans).await.0, [json!("true"), json!("false")]);
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![b"ok".as_slice(), b"\xff".as_slice()]));
    let (values, reasons) = cast(json!({ "dataType": "text" }), bytes).await;
    assert_eq!((values, reasons.len()), (vec![json!("ok")], 1));
}

#[tokio::test]
async fn uuids_are_written_one_way_and_json_must_be_json() {
    let (values, reasons) =
        cast(json!({ "dataType": "uuid" }), texts(&["67E5504410B1426F9247BB680E5FE0C8", "67e5504410b1426f"])).await;
    assert_eq!(values, [json!("67e55044-10b1-426f-9247-bb680e5fe0c8")]);
    assert_eq!(reasons, ["2: \"67e5504410b1426f\" is not a UUID"]);
    let (values, reasons) = cast(json!({ "dataType": "json" }), texts(&["{\"a\":1}", "{a:1}", "null"])).await;
    assert_eq!(values, [json!("{\"a\":1}"), json!("null")]);
    assert_eq!(reasons, ["2: \"{a:1}\" is not JSON"]);
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]));
    let (values, _) = cast(json!({ "dataType": "json" }), lists).await;
    assert_eq!(values, [json!("[1,null]"), Value::Null, json!("[]")]);
}

#[tokio::test]
async fn views_and_dictionaries_are_read_like_plain_texts() {
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["1", "x"]));
    let (values, reasons) = cast(json!({ "dataType": "integer" }), views).await;
    assert_eq!((values, reasons.len()), (vec![json!(1)], 1));
    let words: DictionaryArray<Int32Type> = vec![Some("2"), None, Some("y")].into_iter().collect();
    let (values, reasons) = cast(json!({ "dataType": "bigint" }), Arc::new(words)).await;
    assert_eq!((values, reasons), (vec![json!(2), Value::Null], vec!["3: \"y\" is not an integer".to_owned()]));
}

#[tokio::test]
async fn null_is_refused_where_the_field_says_so_and_a_row_is_rejected_once() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let (values, reasons) = cast(json!({ "dataType": "integer", "isNullable": false }), numbers).await;
    assert_eq!(values, [json!(1)]);
    assert_eq!(reasons, ["2: null in a field that is not nullable"]);

    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    let (values, reasons) = cast(json!({ "dataType": "date" }), Arc::clone(&nothing)).await;
    assert_eq!((values, reasons.len()), (vec![Value::Null, Value::Null], 0));
    assert_eq!(cast(json!({ "dataType": "date", "isNullable": false }), nothing).await.1.len(), 2);

    let world = World::new(json!([
        { "name": "id", "dataType": "integer" },
        { "name": "name", "dataType": "integer" },
    ]));
    let mut attempt = world.open("run_1", append(), &[]).await.unwrap();
    let ids = Arc::new(StringArray::from(vec!["a", "1"]));
    let names = Arc::new(StringArray::from(vec!["b", "2"]));
    let batch = RecordBatch::try_from_iter([("id", ids as ArrayRef), ("name", names as ArrayRef)]).unwrap();
    world.stage(&mut attempt, &[vec![batch]]).await.unwrap();
    let errors = attempt.errors();
    assert_eq!((errors.len(), errors[0].row, errors[0].column.as_str()), (1, None, "id"));
    assert_eq!(attempt.counters.rows_out.load(Relaxed), 1);
}

#[tokio::test]
async fn a_field_without_a_column_gets_its_default_or_the_run_does_not_start() {
    let world = World::new(json!([
        { "name": "id", "dataType": "bigint" },
        { "name": "level", "dataType": "decimal", "precision": 4, "scale": 1, "isNullable": false, "defaultValue": 1.5 },
        { "name": "tag", "dataType": "text", "defaultValue": "new" },
    ]));
    world.run("run_1", append(), &[people(1, &[(1, "dropped")])]).await.unwrap();
    assert_eq!(Value::Object(world.rows().await.remove(0)), json!({ "id": 1, "level": "1.5", "tag": "new" }));

    let world = World::new(json!([{ "name": "other", "dataType": "text", "isNullable": false }]));
    let error = world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap_err();
    assert_eq!(error.kind, crate::error::Kind::Definition);
    assert_eq!(error.node.as_deref(), Some("out"));
}

#[tokio::test]
async fn null_keys_of_an_upsert_are_rejected() {
    let world = World::new(json!([
        { "name": "id", "dataType": "bigint" },
        { "name": "name", "dataType": "text" },
    ]));
    let mut attempt = world.open("run_1", json!({ "loadMode": "upsert", "upsertKey": ["id"] }), &[]).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", texts(&["a", "b"]), true)]).unwrap();
    world.stage(&mut attempt, &[vec![batch]]).await.unwrap();
    assert_eq!(world.commit(&mut attempt).await.unwrap().rows_out, 1);
    assert_eq!(attempt.errors()[0].error, "null in a field that is a key of the upsert");
}
