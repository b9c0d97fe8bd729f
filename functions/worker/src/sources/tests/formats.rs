//! What files really hold: marks, line ends, compression, emptiness, nested and large values.

use super::Root;
use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::parquet::arrow::ArrowWriter;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

fn bz2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bz2_streams_are_read_to_the_last_and_a_cut_is_a_fault() {
    let streams = [bz2("a\n1\n"), bz2("2\n"), bz2("")].concat();
    assert_eq!(Root::with("a.csv.bz2", &streams).read().await.texts(), ["1", "2"]);
    // The content tells where the name does not.
    assert_eq!(Root::with("a.csv", &streams).read().await.texts(), ["1", "2"]);
    assert_eq!(Root::with("a.jsonl.bz2", bz2("{\"a\": 1}\n")).read().await.texts(), ["1"]);
    let text: String = (0..200_000).map(|i| format!("{i},{}\n", i * 7919 % 10_007)).collect();
    let whole = bz2(&format!("a,b\n{text}"));
    for end in [whole.len() / 2, whole.len() - 3] {
        let fault = Root::with("a.csv.bz2", &whole[..end]).fault().await;
        assert!(fault.contains("ends in the middle"), "{fault}");
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0x55);
    assert!(Root::with("a.csv.bz2", flipped).fault().await.contains("a.csv.bz2"));
    assert!(Root::with("a.csv.bz2", "a\n1\n").fault().await.contains("named as bz2"));
}

#[tokio::test]
async fn every_line_end_ends_a_row() {
    for text in ["a,b\n1,x\n2,y\n", "a,b\r\n1,x\r\n2,y\r\n", "a,b\r1,x\r2,y\r", "a,b\n1,x\r\n2,y"] {
        let rows = Root::with("a.csv", text).read().await;
        assert_eq!((rows.texts(), rows.rejects.len()), (vec!["1|x".to_owned(), "2|y".to_owned()], 0), "{text:?}");
    }
}

#[tokio::test]
async fn an_empty_line_of_one_column_is_a_row_whatever_ends_it() {
    for text in ["a\n1\n\n3\n\n", "a\r\n1\r\n\r\n3\r\n\r\n", "a\r1\r\r3\r\r", "a\n1\n\r\n3\r\n\n"] {
        let rows = Root::with("a.csv", text).read().await;
        assert_eq!(
            (rows.texts(), rows.rejects.len()),
            (["1", "-", "3", "-"].map(str::to_owned).to_vec(), 0),
            "{text:?}"
        );
    }
    assert_eq!(Root::with("a.csv", "a\n\"x\n\ny\"\n\nz").read().await.texts(), ["x\n\ny", "-", "z"]);
    assert_eq!(Root::with("a.csv", "a\n1").read().await.texts(), ["1"]);
}

#[tokio::test]
async fn a_byte_order_mark_is_left_out_and_utf_16_is_named() {
    for (name, text) in
        [("a.csv", "\u{feff}id\n1\n"), ("a.jsonl", "\u{feff}{\"id\": 1}\n"), ("a.json", "\u{feff}[{\"id\": 1}]")]
    {
        let rows = Root::with(name, text).read().await;
        assert_eq!((rows.columns[0].0.as_str(), rows.texts()), ("id", vec!["1".to_owned()]), "{name}");
    }
    let big: Vec<u8> = "id\n1\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let fault = Root::with("a.csv", [b"\xfe\xff".as_slice(), &big].concat()).fault().await;
    assert!(fault.contains("UTF-16") && fault.contains("UTF-8"), "{fault}");
}

#[tokio::test]
async fn latin1_in_a_file_of_utf_8_rejects_the_row_with_a_hint() {
    let rows = Root::with("a.csv", b"id,name\n1,Anna\n2,Jos\xe9\n3,Eve\n").read().await;
    assert_eq!(rows.texts(), ["1|Anna", "3|Eve"]);
    let [(row, column, reason)] = rows.reasons()[..] else { panic!("{:?}", rows.rejects) };
    assert_eq!((row, column), (2, "name"));
    assert!(reason.contains("latin1"), "{reason}");
    let rows = Root::with("a.csv", b"id,name\n2,Jos\xe9\n").options(json!({"encoding": "latin1"})).read().await;
    assert_eq!(rows.texts(), ["2|José"]);
    assert!(Root::with("a.csv", b"id,pr\xe9nom\n1,x\n").fault().await.contains("latin1"));
}

#[tokio::test]
async fn a_file_without_rows_has_columns_or_a_fault() {
    let rows = Root::with("a.csv", "id,name\n").read().await;
    assert_eq!((rows.rows.len(), rows.columns.len(), rows.counted), (0, 2, (0, 0, 0)));
    let fault = Root::with("a.csv", "").fault().await;
    assert!(fault.contains("not even a header") && fault.contains("options.columns"), "{fault}");
    let declared = json!({"columns": {"id": "bigint", "name": "text"}});
    let rows = Root::with("a.csv", "").options(declared.clone()).read().await;
    assert_eq!((rows.types(), rows.rows.len()), (vec![DataType::Int64, DataType::Utf8], 0));
    // An empty file among others has no rows, wherever it stands.
    let root = Root::new("in").file("in/a.csv", "").file("in/b.csv", "name,id\nx,1\n").file("in/c.csv", "");
    assert!(root.fault().await.contains("in/a.csv"));
    let rows = root.options(declared).read().await;
    assert_eq!((rows.columns[0].0.as_str(), rows.texts()), ("name", vec!["x|1".to_owned()]));
    let rows = Root::with("a.csv.gz", empty_gzip()).options(json!({"columns": {"id": "bigint"}})).read().await;
    assert_eq!(rows.rows.len(), 0);
}

fn empty_gzip() -> Vec<u8> {
    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()).finish().unwrap()
}

#[tokio::test]
async fn a_row_with_too_few_fields_is_kept_in_the_report() {
    let rows = Root::with("a.csv", "a,b,c\n1,\"x, y\"\n").read().await;
    assert_eq!(rows.rejects[0].value.as_deref(), Some("1,x, y"));
}

#[tokio::test]
async fn digits_that_a_guessed_double_would_lose_reject_their_row() {
    let mut text: String = (0..super::super::guess::SAMPLE_ROWS).map(|i| format!("{{\"n\": {i}.5}}\n")).collect();
    text += "{\"n\": 1.123456789012345678}\n{\"n\": 7.5}\n";
    let rows = Root::with("a.jsonl", &text).read().await;
    assert_eq!(rows.types(), [DataType::Float64]);
    assert_eq!(rows.texts().len(), super::super::guess::SAMPLE_ROWS + 1);
    let exact = Root::with("b.jsonl", "{\"n\": 1.123456789012345678}\n{\"n\": 7.5}\n").read().await;
    assert_eq!(exact.texts(), ["1.123456789012345678", "7.500000000000000000"]);
}

#[tokio::test]
async fn numbers_beyond_64_bits_stay_exact() {
    let text =
        "{\"n\": 18446744073709551616, \"m\": 9007199254740993, \"x\": 1e400}\n{\"n\": 1, \"m\": 0.5, \"x\": 1}\n";
    let rows = Root::with("a.jsonl", text).read().await;
    // What neither a whole number nor a double holds exactly stays text.
    assert_eq!(rows.texts(), ["18446744073709551616|9007199254740993|1e400", "1|0.5|1"]);
    assert_eq!(rows.types(), [DataType::Utf8, DataType::Utf8, DataType::Utf8]);
    let rows = Root::with("a.jsonl", text)
        .expect("n", json!({"dataType": "decimal", "precision": 38, "scale": 0}))
        .expect("m", json!({"dataType": "decimal", "precision": 38, "scale": 1}))
        .read()
        .await;
    assert_eq!(rows.texts()[0], "18446744073709551616|9007199254740993.0|1e400");
}

#[tokio::test]
async fn keys_that_change_from_line_to_line_make_the_union_of_all() {
    let rows = Root::with("a.jsonl", "{\"a\": 1}\n{\"b\": 2}\n{\"c\": null, \"a\": \"x\"}\n{}\n").read().await;
    assert_eq!(rows.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(rows.texts(), ["1|-|-", "-|2|-", "x|-|-", "-|-|-"]);
}

#[tokio::test]
async fn lists_maps_and_decimals_of_parquet_stay_what_they_are() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), None]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    map.append(false).unwrap();
    let decimal = Decimal128Array::from(vec![Some(12345), None]).with_precision_and_scale(38, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("l", Arc::new(list)),
        ("m", Arc::new(map.finish())),
        ("d", Arc::new(decimal)),
        ("t", Arc::new(StringArray::from(vec![Some("x"), None]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let rows = Root::with("a.parquet", writer.into_inner().unwrap()).read().await;
    assert_eq!(rows.texts(), ["1|[1, ]|{k: v}|123.45|x", "2|-|-|-|-"]);
    assert!(matches!(rows.types()[1..3], [DataType::List(_), DataType::Map(..)]));
}
