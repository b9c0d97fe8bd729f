//! Parquet: row groups, row ids, types.

use super::Root;
use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::data_type::{Int64Type, Int96, Int96Type};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

fn parquet(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn ids(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

#[tokio::test]
async fn row_groups_keep_the_number_of_each_row() {
    let rows = Root::new("in")
        .file("in/a.parquet", parquet(vec![("id", ids(0..1000))], 100))
        .file("in/b.parquet", parquet(vec![("id", ids(1000..1250))], 100))
        .read()
        .await;
    assert_eq!(rows.rows.len(), 1250);
    let texts: Vec<String> = (0..1250).map(|i: i32| i.to_string()).collect();
    assert_eq!(rows.texts(), texts);
    assert_eq!(rows.ids[1249], (1, 250));
    assert_eq!(rows.counted, (1250, 1250, 0));
    assert_eq!(rows.progress.total_rows.load(Relaxed), 1250);
    let partitions = rows.progress.partition_details();
    assert_eq!(partitions.iter().map(|p| p.rows).collect::<Vec<_>>(), [1000, 250]);
    assert!(partitions.iter().all(|p| p.status == "completed"));
}

#[tokio::test]
async fn dictionaries_and_views_become_plain_and_nested_columns_stay() {
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    let nested = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), ids(0..3))]);
    let rows = Root::with(
        "a.parquet",
        parquet(
            vec![
                ("d", Arc::new(dictionary) as ArrayRef),
                ("v", Arc::new(StringViewArray::from(vec!["a", "b", "c"]))),
                ("s", Arc::new(nested)),
            ],
            10,
        ),
    )
    .read()
    .await;
    assert_eq!(rows.types()[..2], [DataType::Utf8, DataType::Utf8]);
    assert!(matches!(rows.types()[2], DataType::Struct(_)));
    assert_eq!(rows.texts(), ["x|a|{n: 0}", "y|b|{n: 1}", "x|c|{n: 2}"]);
}

#[tokio::test]
async fn later_files_are_met_by_name_and_their_types_must_fit() {
    let first = parquet(vec![("id", ids(0..2)), ("t", Arc::new(StringArray::from(vec!["a", "b"])))], 10);
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let second = parquet(vec![("x", ids(0..1)), ("t", Arc::new(StringArray::from(vec!["c"]))), ("id", narrow)], 10);
    let root = Root::new("in").file("in/a.parquet", &first).file("in/b.parquet", second);
    assert_eq!(root.read().await.texts(), ["0|a", "1|b", "7|c"]);
    let root = Root::new("in").file("in/a.parquet", &first).file("in/b.parquet", parquet(vec![("id", ids(0..1))], 10));
    assert!(root.fault().await.contains("\"in/b.parquet\" lacks the column \"t\""));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let wrong = parquet(vec![("id", Arc::clone(&text)), ("t", text)], 10);
    let fault = Root::new("in").file("in/a.parquet", &first).file("in/b.parquet", wrong).fault().await;
    assert!(fault.contains("column \"id\" as Utf8"), "{fault}");
}

#[tokio::test]
async fn a_column_that_the_target_wants_and_that_only_a_later_file_has_is_a_fault() {
    let first = parquet(vec![("id", ids(0..1))], 10);
    let second = parquet(vec![("id", ids(1..2)), ("email", Arc::new(StringArray::from(vec!["b@x.org"])))], 10);
    let root = Root::new("in").file("in/a.parquet", first).file("in/b.parquet", second);
    let fault = root.expect("email", json!({"dataType": "text"})).fault().await;
    assert!(fault.contains("\"in/b.parquet\" has the column \"email\", which the target wants"), "{fault}");
}

#[tokio::test]
async fn a_column_has_the_type_that_holds_what_all_files_have() {
    let decimals = |values: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let first = parquet(vec![("id", narrow), ("d", decimals(vec![150], 10, 2))], 10);
    let second = parquet(vec![("id", ids(3_000_000_000..3_000_000_001)), ("d", decimals(vec![12345], 8, 4))], 10);
    let rows = Root::new("in").file("in/a.parquet", first).file("in/b.parquet", second).read().await;
    assert_eq!(rows.types(), [DataType::Int64, DataType::Decimal128(12, 4)]);
    assert_eq!((rows.texts(), rows.rejects.len()), (vec!["7|1.5000".to_owned(), "3000000000|1.2345".to_owned()], 0));
}

#[tokio::test]
async fn timestamps_of_several_units_keep_their_microseconds() {
    let at = |array: ArrayRef| parquet(vec![("at", array)], 10);
    let millis = at(Arc::new(TimestampMillisecondArray::from(vec![1_500])));
    let micros = at(Arc::new(TimestampMicrosecondArray::from(vec![1_500_001])));
    let nanos = at(Arc::new(TimestampNanosecondArray::from(vec![1_500_002_999, -1])));
    let root = Root::new("in").file("in/a.parquet", millis).file("in/b.parquet", micros).file("in/c.parquet", nanos);
    let rows = root.read().await;
    assert_eq!(rows.types(), [DataType::Timestamp(TimeUnit::Microsecond, None)]);
    let texts = [
        "1970-01-01T00:00:01.500",
        "1970-01-01T00:00:01.500001",
        "1970-01-01T00:00:01.500002",
        "1969-12-31T23:59:59.999999",
    ];
    assert_eq!(rows.texts(), texts);
}

/// Days of the old calendar before 1970.
const JULIAN: i64 = 2_440_588;

fn int96(days: i64, nanos: u64) -> Int96 {
    let mut value = Int96::new();
    value.set_data(nanos as u32, (nanos >> 32) as u32, (days + JULIAN) as u32);
    value
}

/// A file with INT96 at the top, nanoseconds of the new type behind it, and INT96 within a struct.
fn old_timestamps(values: &[Int96]) -> Vec<u8> {
    let schema = "message m { required int96 at; required int64 nanos (TIMESTAMP(NANOS,false)); \
                  required group s { required int64 n; required int96 at; } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let nanos = vec![1_500_i64; values.len()];
    let mut group = writer.next_row_group().unwrap();
    for is_old in [true, false, false, true] {
        let mut column = group.next_column().unwrap().unwrap();
        if is_old {
            column.typed::<Int96Type>().write_batch(values, None, None).unwrap();
        } else {
            column.typed::<Int64Type>().write_batch(nanos.as_slice(), None, None).unwrap();
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn old_timestamps_reach_from_the_first_year_to_the_last() {
    let values = [int96(2_932_896, 0), int96(-719_162, 0), int96(-1, 86_399_999_999_999)];
    let rows = Root::with("a.parquet", old_timestamps(&values)).read().await;
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(rows.types()[..2], [micros.clone(), micros]);
    let texts = ["9999-12-31T00:00:00", "0001-01-01T00:00:00", "1969-12-31T23:59:59.999999"];
    let texts = texts.map(|at| format!("{at}|1970-01-01T00:00:00.000001|{{n: 1500, at: {at}}}"));
    assert_eq!((rows.texts(), rows.rejects.len()), (texts.to_vec(), 0));
}

#[tokio::test]
async fn a_value_that_no_type_holds_rejects_its_row_whoever_reads_it() {
    let wide = |value: i128, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value, 1]).with_precision_and_scale(38, scale).unwrap())
    };
    let first = parquet(vec![("id", ids(0..2)), ("d", wide(1, 10))], 10);
    let second = parquet(vec![("id", ids(2..4)), ("d", wide(10_i128.pow(37), 0))], 10);
    let root = Root::new("in").file("in/a.parquet", first).file("in/b.parquet", second);
    let rows = root.read().await;
    assert_eq!((rows.counted, rows.texts().len()), ((4, 3, 1), 3));
    let (row, column, reason) = rows.reasons()[0];
    assert_eq!((row, column), (1, "d"));
    assert!(reason.contains("38 digits with 10 after the point"), "{reason}");
    // One who counts rejects it too.
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let context = datafusion::prelude::SessionContext::new();
    assert_eq!(context.read_table(source.provider(None, progress)).unwrap().count().await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_no_parquet_is_a_fault() {
    let fault = Root::with("a.parquet", "id\n1\n").fault().await;
    assert!(fault.contains("a.parquet"), "{fault}");
    let whole = parquet(vec![("id", ids(0..100))], 10);
    let fault = Root::with("a.parquet", &whole[..whole.len() / 2]).fault().await;
    assert!(fault.contains("a.parquet"), "{fault}");
    assert!(Root::with("a.parquet", "").fault().await.contains("a.parquet"));
}

#[tokio::test]
async fn counting_needs_no_column() {
    let root = Root::with("a.parquet", parquet(vec![("id", ids(0..1000))], 100));
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let context = datafusion::prelude::SessionContext::new();
    assert_eq!(context.read_table(source.provider(None, progress)).unwrap().count().await.unwrap(), 1000);
}

#[tokio::test]
async fn a_file_without_rows_is_zero_rows_of_its_columns() {
    let rows = Root::with("a.parquet", parquet(vec![("id", ids(0..0))], 10)).read().await;
    assert_eq!(rows.types(), [DataType::Int64]);
    assert_eq!(rows.counted, (0, 0, 0));
    assert_eq!(rows.progress.partition_details()[0].status, "completed");
}

#[tokio::test]
async fn a_sample_asks_only_the_files_that_it_needs() {
    let mut root = Root::new("in");
    for n in 0..30 {
        root = root.file(&format!("in/{n:02}.parquet"), parquet(vec![("id", ids(n * 10..n * 10 + 10))], 5));
    }
    let mut root = root.file("in/99.parquet", "no Parquet");
    assert!(root.fault().await.contains("99.parquet"), "a whole read looks at each file");
    root.most_rows = Some(15);
    assert_eq!(root.read().await.texts(), (0..15).map(|n| n.to_string()).collect::<Vec<_>>());
}
