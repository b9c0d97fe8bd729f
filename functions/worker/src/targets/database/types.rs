//! Fields of a schema and columns of a database: how a new column is declared, and what one that is there can hold.

use super::table::Column;
use crate::databases::Dialect;
use crate::targets::columns::type_name;
use shared::models::node::DataTypeName as D;
use shared::models::schema::Field;

/// Characters of a text in a MySQL table that is a key and has no length.
const KEY_LENGTH: u32 = 255;
/// Characters of a MySQL `varchar`.
const LONGEST_VARCHAR: u32 = 4000;
/// Bytes of the columns of a MySQL row that are not stored apart: a little below what the server takes.
const MOST_ROW_BYTES: u32 = 60_000;
/// Bytes of a key of MySQL.
const MOST_KEY_BYTES: u32 = 3_072;
/// Bytes of a character in a column that we make.
const CHARACTER_BYTES: u32 = 4;

/// The types of the columns of a new table.
///
/// # Errors
/// Why the database has none for a field, which is named, or cannot make the table.
pub fn declared_all(dialect: Dialect, fields: &[Field]) -> Result<Vec<String>, String> {
    let one = |field: &Field| declared(dialect, field).map_err(|why| format!("the field {:?} {why}", field.name));
    let mut kinds = fields.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if dialect == Dialect::Postgresql {
        return Ok(kinds);
    }
    let is_key = |index: usize| fields.get(index).is_some_and(|field| field.is_primary_key == Some(true));
    let key_bytes: u32 =
        kinds.iter().enumerate().filter(|(index, _)| is_key(*index)).map(|(_, kind)| bytes(kind)).sum();
    if key_bytes > MOST_KEY_BYTES {
        let names: Vec<&str> =
            fields.iter().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.as_str()).collect();
        return Err(format!(
            "the primary key {} may have {key_bytes} bytes ({CHARACTER_BYTES} a character), and a key of MySQL has \
             {MOST_KEY_BYTES} at most; give its texts a smaller length",
            names.join(", ")
        ));
    }
    // What makes a row too long is stored apart, the longest texts first.
    while kinds.iter().map(|kind| bytes(kind)).sum::<u32>() > MOST_ROW_BYTES {
        let texts = kinds.iter_mut().enumerate().filter(|(index, kind)| kind.starts_with("varchar") && !is_key(*index));
        let Some((_, longest)) = texts.max_by_key(|(_, kind)| bytes(kind)) else {
            return Err("the fields make rows longer than the 65,535 bytes that MySQL takes".to_owned());
        };
        *longest = "longtext".to_owned();
    }
    Ok(kinds)
}

/// About the bytes that a column of MySQL takes in its row.
fn bytes(kind: &str) -> u32 {
    let (name, rest) = kind.split_once('(').unwrap_or((kind, ""));
    let length: u32 = rest.split([',', ')']).next().and_then(|n| n.parse().ok()).unwrap_or(0);
    match name {
        "varchar" => length * CHARACTER_BYTES + 2,
        "char" => length * CHARACTER_BYTES,
        "decimal" => length / 2 + 4,
        _ => 12,
    }
}

/// Whether an index can keep the values of a new column apart.
pub fn can_be_indexed(dialect: Dialect, kind: &str) -> bool {
    match dialect {
        Dialect::Postgresql => true,
        Dialect::Mysql => !matches!(kind, "longtext" | "json") && bytes(kind) <= MOST_KEY_BYTES,
    }
}

/// The type of a new column.
///
/// # Errors
/// Why the database has none.
pub fn declared(dialect: Dialect, field: &Field) -> Result<String, String> {
    let (precision, scale) = field.decimal();
    let key = field.is_primary_key == Some(true);
    Ok(match (dialect, field.data_type) {
        (_, D::Smallint) => "smallint".to_owned(),
        (_, D::Integer) => "integer".to_owned(),
        (_, D::Bigint) => "bigint".to_owned(),
        (_, D::Date) => "date".to_owned(),
        (Dialect::Postgresql, D::Decimal) => format!("numeric({precision},{scale})"),
        (Dialect::Postgresql, D::Real) => "real".to_owned(),
        (Dialect::Postgresql, D::Double) => "double precision".to_owned(),
        (Dialect::Postgresql, D::Boolean) => "boolean".to_owned(),
        (Dialect::Postgresql, D::Timestamp) => "timestamp".to_owned(),
        (Dialect::Postgresql, D::Timestamptz) => "timestamptz".to_owned(),
        (Dialect::Postgresql, D::Json) => "jsonb".to_owned(),
        (Dialect::Postgresql, D::Uuid) => "uuid".to_owned(),
        (Dialect::Postgresql, D::Varchar) => match field.length {
            Some(length) => format!("varchar({length})"),
            None => "text".to_owned(),
        },
        (Dialect::Postgresql, D::Text) => "text".to_owned(),
        (Dialect::Mysql, D::Decimal) if scale > 30 => {
            return Err(format!("is {}, and MySQL has 30 digits behind the point at most", type_name(field)));
        }
        (Dialect::Mysql, D::Decimal) => format!("decimal({precision},{scale})"),
        (Dialect::Mysql, D::Real) => "float".to_owned(),
        (Dialect::Mysql, D::Double) => "double".to_owned(),
        (Dialect::Mysql, D::Boolean) => "tinyint(1)".to_owned(),
        (Dialect::Mysql, D::Timestamp) => "datetime(6)".to_owned(),
        (Dialect::Mysql, D::Timestamptz) => "timestamp(6)".to_owned(),
        (Dialect::Mysql, D::Json) => "json".to_owned(),
        (Dialect::Mysql, D::Uuid) => "char(36)".to_owned(),
        (Dialect::Mysql, D::Varchar) => match field.length {
            Some(length) if length <= LONGEST_VARCHAR => format!("varchar({length})"),
            _ if key => format!("varchar({KEY_LENGTH})"),
            _ => "longtext".to_owned(),
        },
        (Dialect::Mysql, D::Text) if key => format!("varchar({KEY_LENGTH})"),
        (Dialect::Mysql, D::Text) => "longtext".to_owned(),
    })
}

/// A field as far as its column holds it: what a wider value would be cut or rounded to is refused row by row instead.
///
/// # Errors
/// Why the column holds nothing of the field.
pub fn narrowed(dialect: Dialect, field: &Field, column: &Column) -> Result<Field, String> {
    if column.computed {
        return Err(format!("its column {:?} is computed by the database", column.name));
    }
    let mut field = field.clone();
    field.is_nullable = Some(field.nullable() && column.nullable);
    let fits = match dialect {
        Dialect::Postgresql => postgres(&mut field, column),
        Dialect::Mysql => mysql(&mut field, column),
    };
    if fits {
        return Ok(field);
    }
    let (kind, shown) = (type_name(&field), &column.shown);
    Err(format!("its column {:?} is {shown}, which does not hold the field's {kind}", column.name))
}

fn postgres(field: &mut Field, column: &Column) -> bool {
    use D::{
        Bigint, Boolean, Date, Decimal, Double, Integer, Json, Real, Smallint, Text, Timestamp, Timestamptz, Uuid,
        Varchar,
    };
    match (field.data_type, column.kind.as_str()) {
        (Smallint | Integer | Bigint, "int2") => integer(field, Smallint),
        (Smallint | Integer | Bigint, "int4") => integer(field, Integer),
        (Smallint | Integer | Bigint, "int8") => integer(field, Bigint),
        (Smallint | Integer | Bigint | Decimal, "numeric") => decimal(field, column),
        (Real | Double, "float4") => kind(field, Real),
        (Real | Double, "float8") => kind(field, Double),
        (Boolean, "bool") | (Date, "date") | (Uuid, "uuid") | (Json, "json" | "jsonb") => true,
        (Timestamp, "timestamp") | (Timestamptz, "timestamptz") => column.fraction == Some(6),
        (Text | Varchar, "text" | "varchar" | "bpchar" | "citext") => text(field, column),
        (Json | Uuid, "text") => true,
        (Uuid, "varchar" | "bpchar") => column.length.is_none_or(|length| length >= 36),
        _ => false,
    }
}

fn mysql(field: &mut Field, column: &Column) -> bool {
    use D::{
        Bigint, Boolean, Date, Decimal, Double, Integer, Json, Real, Smallint, Text, Timestamp, Timestamptz, Uuid,
        Varchar,
    };
    let unsigned = column.shown.to_lowercase().contains("unsigned");
    match (field.data_type, column.kind.as_str()) {
        (Boolean, "tinyint") => true,
        (Smallint | Integer | Bigint, "smallint") if !unsigned => integer(field, Smallint),
        (Smallint | Integer | Bigint, "int") if !unsigned => integer(field, Integer),
        (Smallint | Integer | Bigint, "bigint") if !unsigned => integer(field, Bigint),
        (Smallint | Integer | Bigint | Decimal, "decimal") if !unsigned => decimal(field, column),
        // One with digits, such as float(7,2), rounds.
        (Real | Double, "float") if !column.shown.contains(',') => kind(field, Real),
        (Real | Double, "double") if !column.shown.contains(',') => kind(field, Double),
        (Date, "date") => true,
        (Timestamp, "datetime") | (Timestamptz, "timestamp") => column.fraction == Some(6),
        // The zone is UTC, and the column says nothing of it.
        (Timestamptz, "datetime") => column.fraction == Some(6),
        (Text | Varchar, "varchar" | "char" | "text" | "mediumtext" | "longtext" | "tinytext") => text(field, column),
        (Json, "json" | "longtext") => true,
        (Uuid, "char" | "varchar" | "text") => column.length.is_none_or(|length| length >= 36),
        (Uuid, "uuid") => true,
        _ => false,
    }
}

fn kind(field: &mut Field, kind: D) -> bool {
    field.data_type = kind;
    true
}

/// The type of the column: values beyond it are refused one by one.
fn integer(field: &mut Field, column: D) -> bool {
    kind(field, column)
}

fn decimal(field: &mut Field, column: &Column) -> bool {
    let (precision, scale) = match field.data_type {
        D::Decimal => field.decimal(),
        _ => (19, 0),
    };
    let (mut whole, mut behind) = (i32::from(precision) - i32::from(scale), i32::from(scale));
    if let (Some(own), Some(own_scale)) = (column.precision, column.scale) {
        if own_scale < 0 {
            return false;
        }
        whole = whole.min(i32::try_from(own).unwrap_or(i32::MAX) - own_scale);
        behind = behind.min(own_scale);
    }
    let (Ok(precision @ 1..=38), Ok(scale)) = (u8::try_from(whole + behind), i8::try_from(behind)) else {
        return false;
    };
    field.data_type = D::Decimal;
    (field.precision, field.scale) = (Some(precision), Some(scale));
    true
}

fn text(field: &mut Field, column: &Column) -> bool {
    // What a `text` of MySQL holds is counted in bytes, which is a limit of its own.
    let own = column.length.filter(|_| !column.kind.ends_with("text"));
    let length = match (field.length.filter(|_| field.data_type == D::Varchar), own) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    field.data_type = if length.is_some() { D::Varchar } else { D::Text };
    field.length = length;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(value: serde_json::Value) -> Field {
        let mut whole = json!({"name": "f"});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn column(kind: &str) -> Column {
        Column {
            name: "f".to_owned(),
            kind: kind.to_owned(),
            shown: kind.to_owned(),
            nullable: true,
            ..Column::default()
        }
    }

    #[test]
    fn a_field_is_narrowed_to_what_its_column_holds() {
        let pg = |f: serde_json::Value, c: Column| narrowed(Dialect::Postgresql, &field(f), &c);
        assert_eq!(pg(json!({"dataType": "bigint"}), column("int2")).unwrap().data_type, D::Smallint);
        let short = Column { length: Some(5), ..column("varchar") };
        let text = pg(json!({"dataType": "text"}), short.clone()).unwrap();
        assert_eq!((text.data_type, text.length), (D::Varchar, Some(5)));
        assert_eq!(pg(json!({"dataType": "varchar", "length": 3}), short).unwrap().length, Some(3));
        let money = Column { precision: Some(10), scale: Some(2), ..column("numeric") };
        let cut = pg(json!({"dataType": "decimal", "precision": 20, "scale": 4}), money).unwrap();
        assert_eq!(cut.decimal(), (10, 2));
        let strict = Column { nullable: false, ..column("int4") };
        assert!(!pg(json!({"dataType": "integer"}), strict).unwrap().nullable());
        let said = pg(json!({"dataType": "date"}), column("int4")).unwrap_err();
        assert_eq!(said, "its column \"f\" is int4, which does not hold the field's date");
        let rounded = Column { fraction: Some(0), ..column("datetime") };
        assert!(narrowed(Dialect::Mysql, &field(json!({"dataType": "timestamp"})), &rounded).is_err());
    }

    #[test]
    fn a_column_that_would_round_and_one_that_counts_bytes() {
        let my = |f: serde_json::Value, c: Column| narrowed(Dialect::Mysql, &field(f), &c);
        let rounds = Column { shown: "double(10,2)".to_owned(), ..column("double") };
        assert_eq!(
            my(json!({"dataType": "double"}), rounds).unwrap_err(),
            "its column \"f\" is double(10,2), which does not hold the field's double"
        );
        let bytes = Column { length: Some(255), ..column("tinytext") };
        assert_eq!(my(json!({"dataType": "text"}), bytes).unwrap().data_type, D::Text);
    }

    #[test]
    fn a_row_of_mysql_that_would_be_too_long_stores_its_longest_texts_apart() {
        let text = |name: &str, length: u32| field(json!({"name": name, "dataType": "varchar", "length": length}));
        let mut fields: Vec<Field> = (0..5).map(|n| text(&format!("f{n}"), 3000 + n)).collect();
        assert!(
            declared_all(Dialect::Mysql, fields.get(..4).unwrap()).unwrap().iter().all(|k| k.starts_with("varchar"))
        );
        fields.push(text("short", 10));
        let kinds = declared_all(Dialect::Mysql, &fields).unwrap();
        assert_eq!(
            kinds,
            ["varchar(3000)", "varchar(3001)", "varchar(3002)", "varchar(3003)", "longtext", "varchar(10)"]
        );
        assert!(declared_all(Dialect::Postgresql, &fields).unwrap().iter().all(|k| k.starts_with("varchar")));
        let mut keys = vec![text("a", 500), text("b", 300)];
        keys.iter_mut().for_each(|key| key.is_primary_key = Some(true));
        let said = declared_all(Dialect::Mysql, &keys).unwrap_err();
        assert!(said.starts_with("the primary key a, b may have 3204 bytes"), "{said}");
        assert!(can_be_indexed(Dialect::Mysql, "varchar(767)") && !can_be_indexed(Dialect::Mysql, "varchar(768)"));
        assert!(!can_be_indexed(Dialect::Mysql, "longtext") && can_be_indexed(Dialect::Mysql, "timestamp(6)"));
    }

    #[test]
    fn new_columns_keep_every_value() {
        let my = |f| declared(Dialect::Mysql, &field(f));
        assert_eq!(my(json!({"dataType": "timestamptz"})).unwrap(), "timestamp(6)");
        assert_eq!(my(json!({"dataType": "text", "isPrimaryKey": true})).unwrap(), "varchar(255)");
        assert_eq!(my(json!({"dataType": "decimal"})).unwrap(), "decimal(38,10)");
        assert!(my(json!({"dataType": "decimal", "precision": 38, "scale": 31})).is_err());
        let pg = declared(Dialect::Postgresql, &field(json!({"dataType": "json"}))).unwrap();
        assert_eq!(pg, "jsonb");
    }
}
