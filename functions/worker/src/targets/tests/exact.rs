//! Values at the edges of their types come out as they went in, or are rejected.

use super::casts::cast;
use super::*;
use datafusion::arrow::array::{
    Date32Array, Decimal256Array, Float64Array, TimestampMicrosecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::i256;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

#[tokio::test]
async fn decimals_never_pass_through_a_float() {
    let wide = || json!({ "dataType": "decimal", "precision": 38, "scale": 10 });
    let exact = ["1234567890123456789012345678.0123456789", "-0.0000000001", "0.1", "1e-10", "-0"];
    let (values, reasons) = cast(wide(), texts(&exact)).await;
    let expected =
        ["1234567890123456789012345678.0123456789", "-0.0000000001", "0.1000000000", "0.0000000001", "0.0000000000"];
    assert_eq!((values, reasons), (expected.map(|v| json!(v)).to_vec(), vec![]));
    // One digit too many, in front of or behind the point.
    let lossy = ["12345678901234567890123456789", "0.00000000001", "1e28", "NaN", "Infinity", "1_000", "0x10"];
    let (values, reasons) = cast(wide(), texts(&lossy)).await;
    assert_eq!((values.len(), reasons.len()), (0, lossy.len()), "{values:?} {reasons:?}");
    // Larger than any decimal of ours, but exactly one after the zeros are gone.
    let long = i256::from_string("123450000").unwrap();
    let column: ArrayRef =
        Arc::new(Decimal256Array::from(vec![long, long + i256::ONE]).with_precision_and_scale(76, 8).unwrap());
    let (values, reasons) = cast(json!({ "dataType": "decimal", "precision": 5, "scale": 4 }), column).await;
    assert_eq!((values, reasons.len()), (vec![json!("1.2345")], 1));
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    assert_eq!(
        cast(json!({ "dataType": "decimal", "precision": 20, "scale": 0 }), unsigned).await.0,
        [json!("18446744073709551615")]
    );
}

#[tokio::test]
async fn a_float_becomes_the_decimal_that_it_is_written_as_and_nothing_that_it_is_not() {
    let floats: ArrayRef =
        Arc::new(Float64Array::from(vec![0.5, 0.1, 1.005, 1e300, f64::NAN, f64::NEG_INFINITY, -0.0]));
    let (values, reasons) = cast(json!({ "dataType": "decimal", "precision": 10, "scale": 2 }), floats).await;
    // The float 1.005 lies below 1.005, and yet that is what it is written as.
    assert_eq!(values, [json!("0.50"), json!("0.10"), json!("1.01"), json!("0.00")]);
    assert_eq!(reasons.len(), 3, "{reasons:?}");
}

#[tokio::test]
async fn numbers_that_are_none_stay_what_they_are_in_floats_alone() {
    let texts = || texts(&["NaN", "Infinity", "-inf", "-0", "1e-320", "1e400"]);
    let (values, reasons) = cast(json!({ "dataType": "double" }), texts()).await;
    assert_eq!((values.len(), reasons.len()), (5, 1), "{values:?} {reasons:?}");
    assert!(values[3].as_f64().is_some_and(|v| v == 0.0 && v.is_sign_negative()));
    assert!(values[..3].iter().all(Value::is_null), "JSON has no word for them");
    let (values, reasons) = cast(json!({ "dataType": "bigint" }), texts()).await;
    assert_eq!((values, reasons.len()), (vec![json!(0)], 5));
}

#[tokio::test]
async fn dates_and_times_reach_from_the_first_year_to_the_last() {
    let (values, reasons) = cast(
        json!({ "dataType": "date" }),
        texts(&["0001-01-01", "9999-12-31", "1582-10-10", "2024-02-29", "1900-02-29", "10000-01-01", "2024-1-1"]),
    )
    .await;
    assert_eq!(values, ["0001-01-01", "9999-12-31", "1582-10-10", "2024-02-29"].map(|v| json!(v)));
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    let times =
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999", "2024-12-31T23:59:60Z"];
    let (values, reasons) = cast(json!({ "dataType": "timestamptz" }), texts(&times)).await;
    assert_eq!(
        values,
        ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"].map(|v| json!(v))
    );
    assert_eq!(reasons.len(), 1, "{reasons:?}");
}

#[tokio::test]
async fn times_beyond_what_the_table_can_hold_are_rejected_and_not_wrapped() {
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX]));
    let (values, reasons) = cast(json!({ "dataType": "timestamp" }), seconds).await;
    assert_eq!((values, reasons.len()), (vec![json!("1970-01-01T00:00:00.000Z")], 1));
    // Years that no text can be read back from are told as they are.
    let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![253_402_300_800_000_000]));
    assert_eq!(cast(json!({ "dataType": "timestamp" }), far).await.0.len(), 1);
    let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
    let (values, reasons) = cast(json!({ "dataType": "timestamp" }), days).await;
    assert_eq!((values.len(), reasons.len()), (0, 1), "{values:?}");
}

#[tokio::test]
async fn digits_past_the_sixth_of_a_second_are_cut_before_1970_as_after() {
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999]));
    let expected = [json!("1969-12-31T23:59:59.999999Z"), json!("1970-01-01T00:00:00.000001Z")];
    assert_eq!(cast(json!({ "dataType": "timestamp" }), nanos).await.0, expected);
    let same = texts(&["1969-12-31T23:59:59.999999999", "1970-01-01T00:00:00.000001999"]);
    assert_eq!(cast(json!({ "dataType": "timestamp" }), same).await.0, expected);
}

#[tokio::test]
async fn a_local_time_is_taken_as_utc_and_a_zone_is_turned_into_it() {
    let local =
        ["2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"];
    for data_type in ["timestamp", "timestamptz"] {
        let (values, reasons) = cast(json!({ "dataType": data_type }), texts(&local)).await;
        assert_eq!(
            values,
            [
                "2026-03-29T02:30:00.000Z",
                "2026-10-25T02:30:00.000Z",
                "2026-10-25T00:30:00.000Z",
                "2026-10-25T01:30:00.000Z",
            ]
            .map(|v| json!(v)),
            "{data_type}: a clock that is put back has no hour twice in UTC"
        );
        assert!(reasons.is_empty(), "{reasons:?}");
    }
}

#[tokio::test]
async fn json_stays_the_text_that_it_was_and_must_be_whole() {
    let good = ["{\"b\":1,\"a\":12345678901234567890.123}", "\"x\"", "[1, 2]", " null ", "-0.0"];
    let (values, reasons) = cast(json!({ "dataType": "json" }), texts(&good)).await;
    assert_eq!((values, reasons), (good.map(|v| json!(v)).to_vec(), vec![]));
    let bad = ["", "{", "{\"a\":1} x", "NaN", "'a'", "[1,]", "{\"a\":\"\u{1}\"}", "01"];
    let (values, reasons) = cast(json!({ "dataType": "json" }), texts(&bad)).await;
    assert_eq!((values.len(), reasons.len()), (0, bad.len()), "{values:?} {reasons:?}");
}

#[tokio::test]
async fn uuids_have_one_form() {
    let forms = [
        "67E55044-10B1-426F-9247-BB680E5FE0C8",
        "67e5504410b1426f9247bb680e5fe0c8",
        "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
        "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
    ];
    let (values, reasons) = cast(json!({ "dataType": "uuid" }), texts(&forms)).await;
    assert!(
        reasons.is_empty() && values.iter().all(|v| v == "67e55044-10b1-426f-9247-bb680e5fe0c8"),
        "{values:?} {reasons:?}"
    );
    let (values, reasons) =
        cast(json!({ "dataType": "uuid" }), texts(&["", "67e55044-10b1-426f-9247-bb680e5fe0cg"])).await;
    assert_eq!((values.len(), reasons.len()), (0, 2));
}

#[tokio::test]
async fn an_empty_text_is_a_value_and_null_is_none() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None]));
    let (values, reasons) = cast(json!({ "dataType": "text" }), Arc::clone(&column)).await;
    assert_eq!((values, reasons.len()), (vec![json!(""), Value::Null], 0));
    let (values, reasons) = cast(json!({ "dataType": "varchar", "length": 1, "isNullable": false }), column).await;
    assert_eq!((values, reasons), (vec![json!("")], vec!["2: null in a field that is not nullable".to_owned()]));
}
