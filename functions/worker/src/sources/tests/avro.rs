//! Avro object container files: codecs, types, cuts.

use super::{Root, Rows};
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use serde_json::json;
use std::sync::Arc;

fn avro(columns: Vec<(&str, ArrayRef)>, codec: Option<CompressionCodec>, blocks: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let schema = batch.schema().as_ref().clone();
    let mut writer = WriterBuilder::new(schema).with_compression(codec).build::<_, AvroOcfFormat>(Vec::new()).unwrap();
    let rows = batch.num_rows().div_ceil(blocks).max(1);
    for start in (0..batch.num_rows()).step_by(rows) {
        writer.write(&batch.slice(start, rows.min(batch.num_rows() - start))).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner()
}

fn ids(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

#[tokio::test]
async fn every_codec_is_read_and_rows_keep_their_numbers() {
    use CompressionCodec::{Bzip2, Deflate, Snappy, Xz, ZStandard};
    for codec in [None, Some(Deflate), Some(Snappy), Some(ZStandard), Some(Bzip2), Some(Xz)] {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|i| format!("n{i}"))));
        let root = Root::new("in").file("in/a.avro", avro(vec![("id", ids(0..1000)), ("name", names)], codec, 7)).file(
            "in/b.avro",
            avro(vec![("name", Arc::new(StringArray::from(vec!["x"]))), ("id", ids(7..8))], codec, 1),
        );
        let rows = root.read().await;
        assert_eq!(rows.types(), [DataType::Int64, DataType::Utf8], "{codec:?}");
        assert_eq!((rows.rows.len(), rows.counted), (1001, (1001, 1001, 0)));
        assert_eq!((rows.texts()[999].as_str(), rows.texts()[1000].as_str()), ("999|n999", "7|x"));
        assert_eq!((rows.ids[0], rows.ids[999], rows.ids[1000]), ((0, 1), (0, 1000), (1, 1)));
        assert!(rows.progress.partition_details().iter().all(|p| p.status == "completed"));
    }
}

async fn mixed() -> Rows {
    let inner = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), ids(0..2))]);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), Some(2)]), None]);
    let at = TimestampMicrosecondArray::from(vec![Some(1_000_000), None]).with_timezone("+00:00");
    let decimal = Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(20, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("on", Arc::new(Date32Array::from(vec![Some(1), None]))),
        ("at", Arc::new(at)),
        ("amount", Arc::new(decimal)),
        ("inner", Arc::new(inner)),
        ("list", Arc::new(list)),
    ];
    Root::with("a.avro", avro(columns, None, 1)).read().await
}

#[tokio::test]
async fn nullable_logical_and_nested_types_become_those_of_columns() {
    let rows = mixed().await;
    assert_eq!(rows.types()[..2], [DataType::Int64, DataType::Date32]);
    assert!(matches!(&rows.types()[2], DataType::Timestamp(TimeUnit::Microsecond, Some(_))));
    assert_eq!(rows.types()[3], DataType::Decimal128(20, 2));
    assert!(matches!(&rows.types()[4..], [DataType::Struct(_), DataType::List(_)]));
    assert_eq!(rows.texts()[0], "1|1970-01-02|1970-01-01T00:00:01Z|-123.45|{n: 0}|[1, 2]");
    assert_eq!(rows.texts()[1], "-|-|-|-|{n: 1}|-");
}

/// A file as other writers make it: a schema, and one block.
fn by_hand(schema: serde_json::Value, count: u8, body: &[u8]) -> Vec<u8> {
    let long = |n: usize| {
        let (mut n, mut out) = (n << 1, Vec::new());
        while n > 0x7f {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let text = |t: &str| [long(t.len()), t.as_bytes().to_vec()].concat();
    let sync = [7_u8; 16];
    let schema = schema.to_string();
    [
        b"Obj\x01".to_vec(),
        long(2),
        text("avro.schema"),
        text(&schema),
        text("avro.codec"),
        text("null"),
        long(0),
        sync.to_vec(),
        long(count.into()),
        long(body.len()),
        body.to_vec(),
        sync.to_vec(),
    ]
    .concat()
}

#[tokio::test]
async fn unions_enums_and_uuids_are_read_as_texts() {
    let schema = json!({"type": "record", "name": "r", "fields": [
        {"name": "u", "type": ["null", "string", "long"]},
        {"name": "e", "type": {"type": "enum", "name": "color", "symbols": ["red", "blue"]}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    ]});
    let id = b"\x480f8fad5b-d9cb-469f-a165-70867728950e";
    let body = [b"\x02\x06abc\x02".as_slice(), id, b"\x04\x0e\x00", id, b"\x00\x00", id].concat();
    let rows = Root::with("a.avro", by_hand(schema, 3, &body)).read().await;
    assert_eq!(rows.types(), [DataType::Utf8, DataType::Utf8, DataType::Utf8]);
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    assert_eq!(rows.texts(), [format!("abc|blue|{id}"), format!("7|red|{id}"), format!("-|red|{id}")]);
}

#[tokio::test]
async fn a_file_that_is_cut_or_is_none_is_a_fault_and_never_fewer_rows() {
    let whole = avro(vec![("id", ids(0..10_000))], Some(CompressionCodec::Deflate), 10);
    assert_eq!(Root::with("a.avro", &whole).read().await.rows.len(), 10_000);
    for end in [whole.len() - 1, whole.len() - 16, whole.len() - 17, whole.len() / 2, 40] {
        let fault = Root::with("a.avro", &whole[..end]).fault().await;
        assert!(fault.contains("a.avro") && fault.contains("ends in the middle"), "{end}: {fault}");
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0x55);
    assert!(Root::with("a.avro", flipped).fault().await.contains("a.avro"));
    for none in ["", "id\n1\n", "Obj"] {
        let fault = Root::with("a.avro", none).fault().await;
        assert!(fault.contains("is not an Avro object container file"), "{fault}");
    }
    assert!(Root::with("a.csv", &whole).fault().await.contains("set format to avro"));
}

#[tokio::test]
async fn a_file_without_rows_is_zero_rows_of_its_columns() {
    let rows = Root::with("a.avro", avro(vec![("id", ids(0..0))], None, 1)).read().await;
    assert_eq!((rows.types(), rows.counted), (vec![DataType::Int64], (0, 0, 0)));
    assert_eq!(rows.progress.partition_details()[0].status, "completed");
}

#[tokio::test]
async fn later_files_must_have_the_columns_of_the_first() {
    let root = Root::new("in")
        .file("in/a.avro", avro(vec![("id", ids(0..2))], None, 1))
        .file("in/b.avro", avro(vec![("other", ids(0..2))], None, 1));
    assert!(root.fault().await.contains("\"in/b.avro\" lacks the column \"id\""));
}

#[tokio::test]
async fn a_column_that_the_target_wants_and_that_only_a_later_file_has_is_a_fault() {
    let root = Root::new("in").file("in/a.avro", avro(vec![("id", ids(0..1))], None, 1)).file(
        "in/b.avro",
        avro(vec![("id", ids(1..2)), ("email", Arc::new(StringArray::from(vec!["b@x.org"])))], None, 1),
    );
    let fault = root.expect("email", json!({"dataType": "text"})).fault().await;
    assert!(fault.contains("\"in/b.avro\" has the column \"email\", which the target wants"), "{fault}");
}

#[tokio::test]
async fn a_later_file_with_wider_values_rejects_those_that_do_not_fit() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let rows = Root::new("in")
        .file("in/a.avro", avro(vec![("id", narrow)], None, 1))
        .file("in/b.avro", avro(vec![("id", ids(2_147_483_647..2_147_483_649))], None, 1))
        .read()
        .await;
    assert_eq!((rows.types(), rows.texts()), (vec![DataType::Int32], vec!["7".to_owned(), "2147483647".to_owned()]));
    assert_eq!(rows.counted, (3, 2, 1));
    let reason = "\"2147483648\" is not an integer from -2147483648 to 2147483647, the type of the column in the files before \
         (in in/b.avro)";
    assert_eq!(rows.reasons(), [(2, "id", reason)]);
    assert_eq!(rows.ids[1], (1, 1));
}

#[tokio::test]
async fn timestamps_of_several_units_keep_their_microseconds() {
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("+00:00"));
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_001]).with_timezone("+00:00"));
    let rows = Root::new("in")
        .file("in/a.avro", avro(vec![("at", millis)], None, 1))
        .file("in/b.avro", avro(vec![("at", micros)], None, 1))
        .read()
        .await;
    assert_eq!(rows.texts(), ["1970-01-01T00:00:01.500Z", "1970-01-01T00:00:01.500001Z"]);
}
