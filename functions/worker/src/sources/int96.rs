//! Timestamps of Parquet's old type INT96, which many writers still use, such as Spark.

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::basic::Type;
use datafusion::parquet::errors::ParquetError;
use std::sync::Arc;
use std::vec::IntoIter;

/// The metadata of a file by which INT96 is read as microseconds. By itself the reader makes nanoseconds of it, which go from
/// 1677 to 2262 and come out as other dates beyond.
///
/// # Errors
/// Where the reader does not take the columns as it told them itself.
pub fn in_micros(metadata: ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let leaves = metadata.parquet_schema().columns().iter();
    let leaves: Vec<bool> = leaves.map(|leaf| leaf.physical_type() == Type::INT96).collect();
    if !leaves.contains(&true) {
        return Ok(metadata);
    }
    let schema = metadata.schema();
    let fields = with_micros(schema.fields(), &mut leaves.into_iter());
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// The fields, whose leaves are INT96 or not in the order of `leaves`, as those of the file are.
fn with_micros(fields: &Fields, leaves: &mut IntoIter<bool>) -> Fields {
    fields.iter().map(|field| one(field, leaves)).collect()
}

fn one(field: &Field, leaves: &mut IntoIter<bool>) -> Arc<Field> {
    let data_type = data_type(field.data_type(), leaves);
    Arc::new(field.clone().with_data_type(data_type))
}

fn data_type(of: &DataType, leaves: &mut IntoIter<bool>) -> DataType {
    match of {
        DataType::Struct(fields) => DataType::Struct(with_micros(fields, leaves)),
        DataType::List(item) => DataType::List(one(item, leaves)),
        DataType::LargeList(item) => DataType::LargeList(one(item, leaves)),
        DataType::ListView(item) => DataType::ListView(one(item, leaves)),
        DataType::LargeListView(item) => DataType::LargeListView(one(item, leaves)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(one(item, leaves), *length),
        DataType::Map(entries, sorted) => DataType::Map(one(entries, leaves), *sorted),
        leaf => match (leaves.next(), leaf) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            _ => leaf.clone(),
        },
    }
}
