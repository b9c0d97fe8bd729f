//! The nodes of a pipeline and the config of each type.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What a node does. The names are those of `nodeType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeType {
    Source,
    Filter,
    Transform,
    Join,
    Union,
    Aggregate,
    Sort,
    Deduplicate,
    Pivot,
    Unpivot,
    Branch,
    Sql,
    Validate,
    Target,
}

/// A node's config, typed by its node type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NodeConfig {
    Source(SourceConfig),
    Filter(FilterConfig),
    Transform(TransformConfig),
    Join(JoinConfig),
    Union(UnionConfig),
    Aggregate(AggregateConfig),
    Sort(SortConfig),
    Deduplicate(DeduplicateConfig),
    Pivot(PivotConfig),
    Unpivot(UnpivotConfig),
    Branch(BranchConfig),
    Sql(SqlConfig),
    Validate(ValidateConfig),
    Target(TargetConfig),
}

/// Reads a connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceConfig {
    /// The connector to read; the pipeline's own where it is left out.
    pub connector_id: Option<String>,
    /// The format of the files; guessed from their names where it is left out.
    pub format: Option<FileFormat>,
    /// A file, a folder or a glob, relative to the connector's.
    #[schemars(length(min = 1, max = 4096), extend("format" = "file-path"))]
    pub path: Option<String>,
    /// How to read the files; each option here wins over the connector's.
    pub options: Option<FileOptions>,
    /// The table of a database, `table` or `schema.table`; the connector's where it is left out.
    #[schemars(length(min = 1, max = 200), extend("format" = "table"))]
    pub table: Option<String>,
    /// One SELECT in the database's own SQL, in the place of a table. A parameter `${name}` in it is a value, a literal of its
    /// type: it stands by itself, without quotes, and never for a name.
    #[schemars(length(min = 1, max = 20_000))]
    pub query: Option<String>,
}

/// A format of files. Compression is told from the name's ending or the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    Csv,
    Tsv,
    Json,
    Jsonl,
    Parquet,
    Avro,
}

/// How to read files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileOptions {
    /// One character between fields; `,` for csv and a tab for tsv.
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: Option<String>,
    /// One character around fields; `"`.
    #[schemars(length(min = 1, max = 1))]
    pub quote: Option<String>,
    /// One character before a quote inside a field; a quote is doubled where it is left out.
    #[schemars(length(min = 1, max = 1))]
    pub escape: Option<String>,
    /// Whether the first row names the columns; true. Without one they are `column_1`, `column_2`, ….
    pub header: Option<bool>,
    /// Texts that mean null; only the empty text where it is left out.
    #[schemars(length(max = 100))]
    pub null_values: Option<Vec<String>>,
    /// `utf-8` (the default) or `latin1`.
    pub encoding: Option<Encoding>,
    /// Lines to leave out at the start of each file, before the header.
    #[schemars(range(max = 1_000_000))]
    pub skip_rows: Option<u32>,
    /// Whether types are guessed from the first 10,000 rows, or fewer where these are large (more than some 64 MB); true.
    /// Otherwise all columns are text.
    pub infer_types: Option<bool>,
    /// Column names with their types, such as `{"age": "integer"}`; ends the guessing for these columns.
    pub columns: Option<std::collections::BTreeMap<String, DataTypeName>>,
}

/// A text encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin1")]
    Latin1,
}

/// A type of a column, as schemas name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataTypeName {
    Varchar,
    Text,
    Integer,
    Bigint,
    Smallint,
    Decimal,
    Real,
    Double,
    Boolean,
    Date,
    Timestamp,
    Timestamptz,
    Json,
    Uuid,
}

/// Keeps the rows for which the condition is true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// A boolean SQL expression over the incoming columns.
    #[schemars(extend("format" = "sql-expression"))]
    pub condition: String,
}

/// Changes rows, one op after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformConfig {
    /// The ops, applied in order.
    #[schemars(length(min = 1, max = 200))]
    pub ops: Vec<TransformOp>,
}

/// One change to each row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum TransformOp {
    /// Casts a field to a type.
    Cast {
        #[schemars(extend("format" = "column"))]
        field: String,
        r#type: DataTypeName,
        /// For dates and times, in chrono's strftime form such as `%d.%m.%Y`; a year by `%Y` has four digits. Times are read
        /// with an hour by `%H`, or by `%I` and `%p`, and with a zone by `%z`, not by its name.
        format: Option<String>,
        /// What becomes of a row whose value cannot be cast; `reject`.
        #[serde(rename = "onError")]
        on_error: Option<OnCastError>,
        /// Digits in all of a decimal, 1 to 38; 38.
        #[schemars(range(min = 1, max = 38))]
        precision: Option<u8>,
        /// Digits after a decimal's point; 10 where the precision is left out too, else 0.
        #[schemars(range(min = 0, max = 38))]
        scale: Option<i8>,
    },
    /// Sets a field to an SQL expression's value; the field may be new.
    Expression {
        #[schemars(extend("format" = "column"))]
        field: String,
        #[schemars(extend("format" = "sql-expression"))]
        expr: String,
    },
    /// Gives fields other names.
    Rename {
        #[schemars(length(min = 1, max = 1000))]
        mappings: Vec<Mapping>,
    },
    /// Leaves fields out.
    Drop {
        #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
        fields: Vec<String>,
    },
    /// Keeps only these fields, in this order.
    Select {
        #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
        fields: Vec<String>,
    },
    /// Adds a field with one value in all rows.
    AddField {
        #[schemars(extend("format" = "column"))]
        field: String,
        value: Value,
        r#type: DataTypeName,
    },
    /// Replaces a field by the hexadecimal hash of its text; null stays null.
    Hash {
        #[schemars(extend("format" = "column"))]
        field: String,
        algorithm: HashAlgorithm,
        salt: Option<String>,
    },
    /// Hides personal data in a field.
    MaskPii {
        #[schemars(extend("format" = "column"))]
        field: String,
        strategy: MaskStrategy,
    },
    /// Replaces values by others; without a default, a value that is not in the mapping stays.
    MapValues {
        #[schemars(extend("format" = "column"))]
        field: String,
        #[schemars(extend("minProperties" = 1))]
        mapping: Map<String, Value>,
        /// What a value becomes that is not in the mapping, which may be null; such a value stays where it is left out.
        #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
        default: Option<Value>,
    },
    /// Splits a text into several fields; missing parts are null, the last takes the rest.
    Split {
        #[schemars(extend("format" = "column"))]
        field: String,
        #[schemars(length(min = 1))]
        separator: String,
        #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
        into: Vec<String>,
    },
    /// Joins the non-null texts of fields into one.
    Merge {
        #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
        fields: Vec<String>,
        separator: String,
        #[schemars(extend("format" = "column"))]
        into: String,
    },
    /// Takes white space off both ends.
    Trim {
        #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
        fields: Vec<String>,
    },
    /// Puts a value where there is none.
    FillNull {
        #[schemars(extend("format" = "column"))]
        field: String,
        value: Value,
    },
    /// Takes a value out of a JSON text, by a path such as `a.b[0]` or `["a key"].b`.
    ParseJson {
        #[schemars(extend("format" = "column"))]
        field: String,
        path: String,
        #[schemars(extend("format" = "column"))]
        into: String,
        r#type: DataTypeName,
    },
    /// Adds fields of the row of a table or file that has the same keys; null where there is none. Two rows with one key
    /// fail the run.
    #[serde(rename_all = "camelCase")]
    Lookup {
        /// The connector that is read.
        connector_id: String,
        /// The table of a database, `table` or `schema.table`.
        #[schemars(length(min = 1, max = 200), extend("format" = "table"))]
        table: Option<String>,
        /// A file, a folder or a glob, relative to the connector's.
        #[schemars(length(min = 1, max = 4096), extend("format" = "file-path"))]
        path: Option<String>,
        /// Pairs of a field here (`left`) and one there (`right`); null meets nothing.
        #[schemars(length(min = 1, max = 32))]
        on: Vec<JoinKey>,
        /// The fields that are added.
        #[schemars(length(min = 1, max = 200), extend("items" = {"type": "string", "format": "column"}))]
        select: Vec<String>,
    },
}

/// One renaming.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    #[schemars(extend("format" = "column"))]
    pub from: String,
    #[schemars(extend("format" = "column"))]
    pub to: String,
}

/// What becomes of a row whose value cannot be cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnCastError {
    /// The run fails.
    Fail,
    /// The value becomes null.
    Null,
    /// The row is rejected, counted and reported.
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithm {
    Sha256,
    Sha512,
    Md5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaskStrategy {
    /// `***`.
    Redact,
    /// All but the last four characters (of an address: the first one and the domain) become `*`.
    Partial,
    /// The SHA-256 of the text.
    Hash,
}

/// Joins two inputs; the edges are labelled `left` and `right`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinConfig {
    pub r#type: JoinType,
    /// Pairs of fields that must be equal; null meets nothing.
    #[schemars(length(min = 1, max = 32))]
    pub on: Vec<JoinKey>,
    /// Put behind a right field whose name the left has too (`_right`); a right key of the same name as its left is left out.
    #[schemars(length(min = 1, max = 64))]
    pub suffix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JoinType {
    Inner,
    Left,
    Right,
    Full,
    /// The left rows that meet a right one.
    Semi,
    /// The left rows that meet none.
    Anti,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinKey {
    #[schemars(extend("format" = "column"))]
    pub left: String,
    #[schemars(extend("format" = "column"))]
    pub right: String,
}

/// Puts inputs one below the other, columns by name. The types of a column must go together: integers with doubles, dates
/// with times, but no bigint or decimal with a double, which does not hold them exactly.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnionConfig {
    /// Whether equal rows are kept once only; false.
    pub distinct: Option<bool>,
}

/// Groups rows and measures the groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AggregateConfig {
    /// The fields whose values make the groups; none at all makes one group.
    #[schemars(length(max = 200), extend("items" = {"type": "string", "format": "column"}))]
    pub group_by: Vec<String>,
    #[schemars(length(max = 200))]
    pub measures: Vec<Measure>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    pub r#fn: AggregateFn,
    /// The measured field; `*` counts rows.
    #[schemars(extend("format" = "column"))]
    pub field: String,
    /// The name of the result.
    #[schemars(extend("format" = "column"))]
    pub r#as: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFn {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    Median,
    Stddev,
    First,
    Last,
    ArrayAgg,
}

/// Sorts all rows; spills to disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SortConfig {
    #[schemars(length(min = 1, max = 32))]
    pub by: Vec<SortKey>,
    /// Keeps only so many rows, of equal ones the first of the source; the others count as filtered.
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SortKey {
    #[schemars(extend("format" = "column"))]
    pub field: String,
    /// `asc`.
    pub direction: Option<Direction>,
    /// `last`.
    pub nulls: Option<Nulls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Asc,
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Nulls {
    First,
    Last,
}

/// Keeps one row of those that are equal in the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeduplicateConfig {
    #[schemars(length(min = 1, max = 32), extend("items" = {"type": "string", "format": "column"}))]
    pub keys: Vec<String>,
    pub keep: Keep,
    /// The order in which first and last are meant; the order of the source where it is left out.
    #[schemars(length(max = 32))]
    pub order_by: Option<Vec<SortKey>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    First,
    Last,
}

/// Makes columns of values: one row an index, one column a value of `columns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PivotConfig {
    /// The fields that make a row.
    #[schemars(length(min = 1, max = 32), extend("items" = {"type": "string", "format": "column"}))]
    pub index: Vec<String>,
    /// The field whose values become columns.
    #[schemars(extend("format" = "column"))]
    pub columns: String,
    /// The field that is measured.
    #[schemars(extend("format" = "column"))]
    pub values: String,
    /// The measure of all values that meet in one cell.
    pub r#fn: AggregateFn,
    /// The values of `columns` that become columns, in this order, and named by their texts; a row with another value is in
    /// none of them. Where it is left out they are read first, 1,000 at most, and sorted; null is called `null`.
    #[schemars(length(min = 1, max = 1000))]
    pub pivot_values: Option<Vec<Value>>,
}

/// Makes rows of columns: one row for each of `columns`, in their order, also where the value is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnpivotConfig {
    /// The fields that each row keeps.
    #[schemars(length(max = 200), extend("items" = {"type": "string", "format": "column"}))]
    pub index: Vec<String>,
    /// The fields that become rows; their types must go together as those of a union.
    #[schemars(length(min = 1, max = 1000), extend("items" = {"type": "string", "format": "column"}))]
    pub columns: Vec<String>,
    /// The new field with the name of the column.
    #[schemars(extend("format" = "column"))]
    pub name_to: String,
    /// The new field with its value.
    #[schemars(extend("format" = "column"))]
    pub value_to: String,
}

/// Sends each row on over the first route whose condition is true; the edges that leave the node have the routes' labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BranchConfig {
    #[schemars(length(min = 1, max = 50))]
    pub routes: Vec<Route>,
    /// The label of the edge for all other rows; they are filtered where it is left out.
    #[schemars(length(min = 1, max = 200))]
    pub r#else: Option<String>,
}

/// One way on from a branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The label of its edge.
    #[schemars(length(min = 1, max = 200))]
    pub label: String,
    /// A boolean SQL expression over the incoming columns.
    #[schemars(extend("format" = "sql-expression"))]
    pub condition: String,
}

/// One SELECT over the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// A SELECT whose tables are the inputs, named by the labels of their edges; `input` where there is one without a label.
    #[schemars(length(min = 1, max = 20_000), extend("format" = "sql-query"))]
    pub query: String,
}

/// Checks rows against rules, in their order: a row is rejected under the first one that it breaks, and later rules do
/// not see it any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateConfig {
    #[schemars(length(min = 1, max = 200))]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Names the rule in reports; unique in the node.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// The field that is checked; `expression` and `rowCount` have none.
    #[schemars(extend("format" = "column"))]
    pub field: Option<String>,
    pub rule: RuleName,
    /// What the rule needs to know.
    pub params: Option<RuleParams>,
    /// `reject`; for `rowCount`, which no row can break, `fail`.
    pub on_fail: Option<OnFail>,
}

/// What is checked. Null breaks `notNull` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuleName {
    NotNull,
    /// No two rows of the run have the same value; the first one, in the order of the source, is kept. A row that another
    /// rule rejects keeps none from having its value, unless that rule is a `unique` that comes later.
    Unique,
    /// `min` and `max` of a number, a date or a time, both included.
    Range,
    /// `min` and `max` characters.
    Length,
    /// `pattern` must be found in the text; anchor it with `^` and `$`.
    Regex,
    /// One of `values`.
    OneOf,
    /// An address such as `ada@example.org`.
    Email,
    /// `expr` is true.
    Expression,
    /// `min` and `max` rows come in, both included.
    RowCount,
}

/// What rules need to know; each takes its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleParams {
    /// A number, or a text for dates and times; of `range`, `length` and `rowCount`.
    pub min: Option<Value>,
    /// A number, or a text for dates and times; of `range`, `length` and `rowCount`.
    pub max: Option<Value>,
    /// A regular expression, of `regex`.
    #[schemars(length(min = 1, max = 1000))]
    pub pattern: Option<String>,
    /// Of `oneOf`.
    #[schemars(length(min = 1, max = 1000))]
    pub values: Option<Vec<Value>>,
    /// A boolean SQL expression over the incoming columns, of `expression`.
    #[schemars(extend("format" = "sql-expression"))]
    pub expr: Option<String>,
}

/// What becomes of a row that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// The row is rejected, counted and reported.
    Reject,
    /// The run fails, with nothing written.
    Fail,
    /// The row goes on; the log and the progress say how many there were.
    Warn,
}

/// Writes a table: by default that of the pipeline's schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetConfig {
    /// A connector to a database whose table is written; the lake where it is left out.
    pub connector_id: Option<String>,
    /// In a database `table` or `schema.table`, by default the name of the pipeline's schema, whose fields it has (where that
    /// is renamed, a run that has come to its commit, and its retries, keep to the old name); in the lake the name of another
    /// schema of the tenant.
    #[schemars(length(min = 1, max = 200), extend("format" = "table"))]
    pub table: Option<String>,
    /// How the rows meet those that are there; `append`.
    pub load_mode: Option<LoadMode>,
    /// The fields by which upsert finds a row; the schema's primary key where it is left out.
    #[schemars(length(min = 1, max = 32))]
    pub upsert_key: Option<Vec<String>>,
    /// The field by which `incremental_watermark` tells new rows from those that are there: a whole number, a decimal, a
    /// date, a time or a text (compared byte by byte; the greatest has 1,024 bytes at most, or the run fails). A row in which it
    /// is null is rejected.
    #[schemars(extend("format" = "column"))]
    pub watermark_column: Option<String>,
    /// Lets truncate replace the table with nothing; false.
    pub allow_empty: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// Adds the rows.
    #[default]
    Append,
    /// Replaces the whole table, atomically.
    Truncate,
    /// Merges by `upsertKey`.
    Upsert,
    /// Adds the rows past the watermark, the greatest value of `watermarkColumn` that such a run has brought into the
    /// table; the first load takes all. Rows below it are left out and count as `skippedRows`, as do rows that have just
    /// its value and are in the table already: told by the primary key, or, where the schema has none, by all their
    /// values, each as often as it is there. The watermark is stored inside the table's commit.
    IncrementalWatermark,
}

/// A value that is there, also where it is null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// `config` as the type of `node_type` wants it.
///
/// # Errors
/// Where it does not fit.
pub fn typed(node_type: NodeType, config: &Map<String, Value>) -> Result<NodeConfig, serde_json::Error> {
    fn read<T: serde::de::DeserializeOwned>(config: &Map<String, Value>) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(config.clone()))
    }
    Ok(match node_type {
        NodeType::Source => NodeConfig::Source(read(config)?),
        NodeType::Filter => NodeConfig::Filter(read(config)?),
        NodeType::Transform => NodeConfig::Transform(read(config)?),
        NodeType::Join => NodeConfig::Join(read(config)?),
        NodeType::Union => NodeConfig::Union(read(config)?),
        NodeType::Aggregate => NodeConfig::Aggregate(read(config)?),
        NodeType::Sort => NodeConfig::Sort(read(config)?),
        NodeType::Deduplicate => NodeConfig::Deduplicate(read(config)?),
        NodeType::Pivot => NodeConfig::Pivot(read(config)?),
        NodeType::Unpivot => NodeConfig::Unpivot(read(config)?),
        NodeType::Branch => NodeConfig::Branch(read(config)?),
        NodeType::Sql => NodeConfig::Sql(read(config)?),
        NodeType::Validate => NodeConfig::Validate(read(config)?),
        NodeType::Target => NodeConfig::Target(read(config)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_default_of_null_is_one() {
        for (given, expected) in [(json!({}), None), (json!({"default": null}), Some(Value::Null))] {
            let mut op = json!({"op": "map_values", "field": "a", "mapping": {"x": 1}});
            op.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            let read: TransformOp = serde_json::from_value(op.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), op);
            let TransformOp::MapValues { default, .. } = read else { panic!("{op} is read as another op") };
            assert_eq!(default, expected);
        }
    }
}
