//! The functions that expressions may call: deterministic (but for the run's own `now()`), over one row, and
//! without a way to files, the network or the environment.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use shared::strftime;

/// The scalar functions by DataFusion's names; their aliases go with them.
pub const SCALAR: &[&str] = &[
    // numbers
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nanvl",
    "pi",
    "power",
    "radians",
    "round",
    "signum",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    // texts
    "ascii",
    "bit_length",
    "btrim",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "decode",
    "digest",
    "encode",
    "ends_with",
    "find_in_set",
    "initcap",
    "left",
    "levenshtein",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "overlay",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "to_hex",
    "translate",
    "upper",
    // dates and times
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "make_time",
    "now",
    "to_char",
    "to_date",
    "to_local_time",
    "to_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
    // values of any type
    "arrow_cast",
    "arrow_try_cast",
    "arrow_typeof",
    "coalesce",
    "get_field",
    "greatest",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    // lists, as parquet files have them
    "array_element",
    "array_has",
    "array_length",
    "array_to_string",
    "cardinality",
];

/// The functions over many rows that queries may call, by DataFusion's names.
pub const AGGREGATE: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
];

/// The window functions that queries may call, by DataFusion's names.
pub const WINDOW: &[&str] = &[
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Functions that measure many rows, to tell their users of the aggregate node.
const AGGREGATES: &[&str] = &[
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "count",
    "median",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "approx_distinct",
    "approx_median",
    "bool_and",
    "bool_or",
    "corr",
    "row_number",
    "rank",
    "dense_rank",
    "lag",
    "lead",
    "ntile",
];

/// Characters that `repeat`, `lpad` and `rpad` may make.
const MAX_LENGTH: i64 = 10_000;

/// Whether `name` measures many rows.
pub fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// Whether an allowed function is called with arguments that bound the memory it takes and say what they mean.
///
/// # Errors
/// A sentence that says what would be right.
pub fn check_call(name: &str, arguments: &[Expr]) -> Result<(), String> {
    match name {
        "repeat" | "lpad" | "rpad" => check_length(name, arguments),
        "to_timestamp" | "to_timestamp_micros" => check_forms(name, arguments),
        _ => Ok(()),
    }
}

fn check_length(name: &str, arguments: &[Expr]) -> Result<(), String> {
    let bounded = match arguments.get(1) {
        Some(Expr::Literal(ScalarValue::Int64(Some(length)), _)) => *length <= MAX_LENGTH,
        _ => false,
    };
    let nested = arguments.first().is_some_and(|text| text.to_string().contains("repeat("));
    if bounded && !nested {
        Ok(())
    } else {
        Err(format!(
            "the length in {name} must be a number of at most {MAX_LENGTH}, and what is repeated no repeat itself"
        ))
    }
}

/// Whether times can be read by the forms that are written out in the call.
fn check_forms(name: &str, arguments: &[Expr]) -> Result<(), String> {
    for argument in arguments.iter().skip(1) {
        if let Expr::Literal(value, _) = argument
            && let Some(Some(form)) = value.try_as_str()
            && let Some(why) = strftime::leaves_open(form)
        {
            return Err(format!("the format {form:?} in {name}: {why}"));
        }
    }
    Ok(())
}
