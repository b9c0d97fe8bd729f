//! csv and tsv: quotes, ragged rows, encodings, types.

use super::Root;
use crate::sources::parse::utc_timestamp;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use serde_json::json;

#[tokio::test]
async fn types_are_guessed_from_the_rows() {
    let rows = Root::with(
        "a.csv",
        "i,d,m,b,day,at,utc,zip,big,none,t\n\
         1,1.5,1,true,2024-02-29,2024-01-01 10:00:00,2024-01-01T10:00:00Z,007,99999999999999999999,,x\n\
         -2,2e3,2.5,FALSE,2023-12-31,2024-01-01T10:00:00.123456,2024-01-01 12:00:00.5+02:00,12345,1,,\n",
    )
    .read()
    .await;
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(
        rows.types(),
        [
            DataType::Int64,
            DataType::Float64,
            DataType::Float64,
            DataType::Boolean,
            DataType::Date32,
            micros,
            utc_timestamp(),
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
        ]
    );
    assert_eq!(
        rows.texts(),
        [
            "1|1.5|1.0|true|2024-02-29|2024-01-01T10:00:00|2024-01-01T10:00:00Z|007|99999999999999999999|-|x",
            "-2|2000.0|2.5|false|2023-12-31|2024-01-01T10:00:00.123456|2024-01-01T10:00:00.500Z|12345|1|-|-",
        ]
    );
    assert_eq!(rows.ids, [(0, 1), (0, 2)]);
    assert_eq!(rows.counted, (2, 2, 0));
}

#[tokio::test]
async fn a_ragged_row_is_rejected_and_the_rest_is_read() {
    let rows = Root::with("a.csv", "a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n").read().await;
    assert_eq!(rows.texts(), ["1|2|3", "10|11|12"]);
    assert_eq!(rows.ids, [(0, 1), (0, 4)]);
    assert_eq!(rows.counted, (4, 2, 2));
    assert_eq!(
        rows.reasons(),
        [
            (2, "c", "the row has 2 fields instead of 3; \"c\" is the first that is missing"),
            (3, "", "the row has 4 fields instead of 3; a delimiter within a value needs quotes"),
        ]
    );
    assert_eq!(rows.rejects[1].value.as_deref(), Some("9"));
}

#[tokio::test]
async fn a_value_that_does_not_fit_the_schema_rejects_its_row() {
    let rows = Root::with(
        "a.csv",
        "id,amount,at\n1,1.50,2024-01-01\nabc,2,2024-01-02\n3000000000,2,2024-01-02\n4,1.234,2024-01-02\n5,6,soon\n",
    )
    .expect("id", json!({"dataType": "integer"}))
    .expect("amount", json!({"dataType": "decimal", "precision": 10, "scale": 2}))
    .expect("at", json!({"dataType": "timestamptz"}))
    .read()
    .await;
    assert_eq!(rows.types(), [DataType::Int32, DataType::Decimal128(10, 2), utc_timestamp()]);
    assert_eq!(rows.texts(), ["1|1.50|2024-01-01T00:00:00Z"]);
    assert_eq!(
        rows.reasons(),
        [
            (2, "id", "\"abc\" is not an integer"),
            (3, "id", "\"3000000000\" is not an integer from -2147483648 to 2147483647"),
            (4, "amount", "\"1.234\" is not a number of 10 digits with 2 after the point"),
            (5, "at", "\"soon\" is not a timestamp (such as 2024-05-31T23:59:59Z)"),
        ]
    );
    assert_eq!(rows.rejects[0].value.as_deref(), Some("abc"));
    assert_eq!(rows.counted, (5, 1, 4));
}

#[tokio::test]
async fn a_late_value_that_breaks_the_guess_rejects_its_row_only() {
    let mut text = "id,zip\n".to_owned();
    for i in 1..=10_000 {
        text.push_str(&format!("{i},{i}\n"));
    }
    text.push_str("n/a,1\n10002,007\n10003,8\n");
    let rows = Root::with("a.csv", text).read().await;
    assert_eq!(rows.types(), [DataType::Int64, DataType::Int64]);
    assert_eq!(rows.rows.len(), 10_001);
    assert_eq!(
        rows.reasons(),
        [
            (10_001, "id", "\"n/a\" is not an integer"),
            (10_002, "zip", "\"007\" has leading zeros, which a number would lose"),
        ]
    );
}

#[tokio::test]
async fn a_late_whole_number_that_a_double_rounds_rejects_its_row_only() {
    let mut text = "a\n0.5\n".to_owned();
    text.push_str(&"1\n".repeat(9_999));
    text.push_str("9007199254740993\n9007199254740994\n");
    let rows = Root::with("a.csv", &text).read().await;
    assert_eq!((rows.types(), rows.rows.len()), (vec![DataType::Float64], 10_001));
    let (row, column, reason) = rows.reasons()[0];
    assert_eq!((row, column), (10_001, "a"));
    assert!(reason.contains("more digits than the double"), "{reason}");
    // Who says that it is a double has it rounded as doubles are.
    let rows = Root::with("a.csv", text).options(json!({"columns": {"a": "double"}})).read().await;
    assert_eq!((rows.rows.len(), rows.texts()[10_000].parse()), (10_002, Ok(9_007_199_254_740_992.0)));
}

#[tokio::test]
async fn options_columns_end_the_guessing_and_unknown_ones_are_a_fault() {
    let root = Root::with("a.csv", "id,code\n1,2\n").options(json!({"columns": {"code": "text", "id": "smallint"}}));
    assert_eq!(root.read().await.types(), [DataType::Int16, DataType::Utf8]);
    let root = Root::with("a.csv", "id,code\n1,2\n").options(json!({"columns": {"cods": "text"}}));
    assert!(root.fault().await.contains("options.columns names \"cods\""));
    let root = Root::with("a.csv", "id\n1\n").options(json!({"inferTypes": false}));
    assert_eq!(root.read().await.types(), [DataType::Utf8]);
}

#[tokio::test]
async fn quotes_line_breaks_escapes_and_crlf_are_understood() {
    let rows = Root::with("a.csv", "\u{feff}a,b\r\n\"x, \"\"y\"\"\",\"1\r\n2\"\r\n\r\nplain,é\r\n").read().await;
    assert_eq!(rows.columns[0].0, "a");
    assert_eq!(rows.texts(), ["x, \"y\"|1\r\n2", "plain|é"]);
    let rows = Root::with("b.csv", "a;b\n'it\\'s';2\n")
        .options(json!({"delimiter": ";", "quote": "'", "escape": "\\"}))
        .read()
        .await;
    assert_eq!(rows.texts(), ["it's|2"]);
}

#[tokio::test]
async fn skip_rows_header_false_and_null_values_are_heeded() {
    let rows = Root::with("a.csv", "made by x\n\n1,NA\n2,3\n")
        .options(json!({"skipRows": 2, "header": false, "nullValues": ["NA"]}))
        .read()
        .await;
    assert_eq!(rows.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["column_1", "column_2"]);
    assert_eq!(rows.texts(), ["1|-", "2|3"]);
    assert_eq!(rows.ids, [(0, 1), (0, 2)]);
}

#[tokio::test]
async fn empty_lines_before_the_first_record_are_rows_where_there_is_one_column() {
    async fn read(text: &str) -> (Vec<String>, Vec<(usize, u64)>) {
        let rows = Root::with("a.csv", text).options(json!({"header": false})).read().await;
        (rows.texts(), rows.ids)
    }
    let (texts, ids) = read("\n\r\n1\n\n2\n").await;
    assert_eq!(texts, ["-", "-", "1", "-", "2"]);
    assert_eq!(ids, [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    let (texts, ids) = read("\n\n1,x\n\n2,y\n").await;
    assert_eq!((texts, ids), (vec!["1|x".to_owned(), "2|y".to_owned()], vec![(0, 1), (0, 2)]));
    // More than fit into a chunk.
    let (texts, ids) = read(&format!("{}7\n", "\n".repeat(20_000))).await;
    assert_eq!((texts.len(), texts[20_000].as_str(), ids[20_000]), (20_001, "7", (0, 20_001)));
}

#[tokio::test]
async fn latin1_is_read_when_it_is_said_and_rejected_with_a_hint_when_not() {
    let latin = b"name,n\nJos\xe9,1\nAnn,2\n";
    let rows = Root::with("a.csv", latin).options(json!({"encoding": "latin1"})).read().await;
    assert_eq!(rows.texts(), ["José|1", "Ann|2"]);
    let rows = Root::with("a.csv", latin).read().await;
    assert_eq!(rows.texts(), ["Ann|2"]);
    assert_eq!(rows.reasons()[0].0, 1);
    assert!(rows.reasons()[0].2.contains("latin1"), "{:?}", rows.rejects);
    // Each field is broken, but both together are one character.
    let rows = Root::with("a.csv", b"a,b\nx\xc3,\xa9y\nu,v\n").read().await;
    assert_eq!(rows.texts(), ["u|v"]);
}

#[tokio::test]
async fn a_header_alone_is_zero_rows_but_nothing_at_all_is_a_fault() {
    let rows = Root::with("a.csv", "a,b\n").read().await;
    assert!(rows.rows.is_empty());
    assert_eq!(rows.types(), [DataType::Utf8, DataType::Utf8]);
    assert_eq!(rows.progress.partition_details()[0].status, "completed");
    assert!(Root::with("a.csv", "").fault().await.contains("not even a header"));
    assert!(Root::with("a.csv", "\n\n").fault().await.contains("not even a header"));
    let only = Root::with("a.csv", "x\n").options(json!({"skipRows": 1}));
    assert!(only.fault().await.contains("skipRows"));
}

#[tokio::test]
async fn two_columns_of_one_name_are_a_fault() {
    assert!(Root::with("a.csv", "a,b,a\n1,2,3\n").fault().await.contains("two columns named \"a\""));
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_rejected_with_its_reason() {
    let rows = Root::with("a.csv", "a,b\n1,2\n3,\"x\n4,5\n6,7\n").read().await;
    assert_eq!(rows.texts(), ["1|2"]);
    assert!(rows.reasons()[0].2.contains("never closed"), "{:?}", rows.rejects);
    let mut huge = b"a,b\n1,2\n3,\"x".to_vec();
    huge.resize(20 << 20, b'y');
    let fault = Root::with("a.csv", huge).fault().await;
    assert!(fault.contains("row 2") && fault.contains("16 MB"), "{fault}");
}

#[tokio::test]
async fn a_long_record_is_read_whole() {
    let long = "é".repeat(3 << 20);
    let rows = Root::with("a.csv", format!("a,b\n1,{long}\n2,y\n")).read().await;
    assert_eq!(rows.rows[0][1].as_deref(), Some(long.as_str()));
    assert_eq!(rows.rows[1][1].as_deref(), Some("y"));
}

#[tokio::test]
async fn tsv_has_tabs_between_fields() {
    let rows = Root::with("a.tsv", "a\tb\n1\tx,y\n").read().await;
    assert_eq!(rows.texts(), ["1|x,y"]);
}

#[tokio::test]
async fn what_is_no_text_is_named() {
    let zip = Root::new("a.csv").file("a.csv", b"PK\x03\x04....");
    assert!(zip.fault().await.contains("zip"));
    let utf16 = Root::new("a.csv").file("a.csv", b"\xff\xfea\0,\0b\0\n\0");
    assert!(utf16.fault().await.contains("UTF-16"));
}

#[tokio::test]
async fn many_small_files_are_looked_into_until_there_are_enough_rows() {
    let mut root = Root::new("in");
    for n in 0..60 {
        root = root.file(&format!("in/{n:03}.csv"), if n < 59 { "id\n1\n2\n" } else { "id\nx\n" });
    }
    let rows = root.read().await;
    assert_eq!((rows.types(), rows.counted), (vec![DataType::Utf8], (119, 119, 0)));
}
