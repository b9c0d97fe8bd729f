//! Functions that make texts longer, with a bound on what one call makes. A text beyond it fails, and so do texts that are
//! beyond it together: rows are then worked in fewer at once, until one that is too long is found by itself.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_utf8;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast,
};
use std::sync::Arc;

/// Bytes that one call makes at most.
pub const MOST_BYTES: usize = 16 << 20;
/// The same in queries, where no row can be rejected, and rows are not worked in fewer at once.
pub const MOST_BYTES_IN_QUERIES: usize = 128 << 20;
/// Bytes of a character.
const CHARACTER: usize = 4;
/// How many times as many bytes a replacement may be thought to make as it does.
const FOUND: usize = 16;

/// The functions whose texts may be longer than what they are made of.
const LONGER: [&str; 10] = [
    "array_to_string",
    "concat",
    "concat_ws",
    "encode",
    "lpad",
    "overlay",
    "regexp_replace",
    "repeat",
    "replace",
    "rpad",
];

/// Bounds what `expr` makes, where it makes texts longer: at most `most` bytes a call. Types must have been coerced.
///
/// # Errors
/// Where the types of `||` cannot be told.
pub fn bounded(expr: Expr, schema: &DFSchema, most: usize) -> Result<Transformed<Expr>> {
    let expr = match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if LONGER.contains(&func.name()) => {
            let function = Arc::new(ScalarUDF::from(Bounded { function: func, most }));
            return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))));
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => (left, right),
        other => return Ok(Transformed::no(other)),
    };
    let (left, right) = expr;
    let of = |side: &Expr| side.get_type(schema).ok().filter(is_text);
    let (Some(one), Some(other)) = (of(&left), of(&right)) else {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right })));
    };
    let plain = |side: Expr, of: &DataType| if *of == DataType::Utf8 { side } else { cast(side, DataType::Utf8) };
    let sides = vec![plain(*left, &one), plain(*right, &other)];
    let signature = Signature::any(2, Volatility::Immutable);
    let function = Arc::new(ScalarUDF::from(Joined { most, signature }));
    let joined = Expr::ScalarFunction(ScalarFunction::new_udf(function, sides));
    // What is behind it was planned for the type that it had.
    Ok(Transformed::yes(if one == DataType::Utf8 { joined } else { cast(joined, one) }))
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: Arc<ScalarUDF>,
    most: usize,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }
    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }
    fn signature(&self) -> &Signature {
        self.function.signature()
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        // How often something is found is not known before, and these make no room for more than they find.
        let finds = matches!(self.name(), "replace" | "regexp_replace");
        check(self.name(), &args, if finds && rows == 1 { self.most * FOUND } else { self.most })?;
        let made = self.function.invoke_with_args(args)?;
        if finds {
            let sizes = Sizes::of(&made)?;
            let bytes = (0..rows).map(|row| sizes.at(row)).sum();
            if bytes > self.most {
                return too_long(self.name(), rows, bytes, self.most);
            }
        }
        Ok(made)
    }
}

/// `||` between two texts; null where one is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    most: usize,
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), &args, self.most)?;
        let [left, right] = args.args.as_slice() else { return internal_err!("|| takes two texts") };
        let both_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if both_scalar { 1 } else { args.number_rows };
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        let joined = concat_elements_utf8(left.as_string::<i32>(), right.as_string())?;
        if both_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(joined)))
    }
}

/// What a function is given, by row.
enum Sizes {
    Same(usize),
    Each(Vec<usize>),
}

impl Sizes {
    /// Bytes of texts, lists' elements, and what whole numbers are worth.
    fn of(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(values) => Self::Each(sizes(values)),
            ColumnarValue::Scalar(value) => Self::Same(sizes(&value.to_array()?).first().copied().unwrap_or_default()),
        })
    }

    fn at(&self, row: usize) -> usize {
        match self {
            Self::Same(size) => *size,
            Self::Each(sizes) => sizes.get(row).copied().unwrap_or_default(),
        }
    }
}

fn sizes(values: &ArrayRef) -> Vec<usize> {
    let or_none = |size: Option<usize>| size.unwrap_or_default();
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().map(|text| or_none(text.map(str::len))).collect(),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().map(|text| or_none(text.map(str::len))).collect(),
        DataType::Utf8View => values.as_string_view().iter().map(|text| or_none(text.map(str::len))).collect(),
        DataType::Int64 => {
            let worth = |value: i64| usize::try_from(value).unwrap_or_default();
            values.as_primitive::<Int64Type>().iter().map(|value| or_none(value.map(worth))).collect()
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let inside = lists.values();
            // With what stands between the elements, or in the place of null, counted by the function.
            let each = inside.get_array_memory_size() / inside.len().max(1);
            (0..lists.len())
                .map(|row| usize::try_from(lists.value_length(row)).unwrap_or_default() * (each + 1))
                .collect()
        }
        _ => {
            let each = values.get_array_memory_size() / values.len().max(1);
            vec![each; values.len()]
        }
    }
}

/// Whether what a call makes is within the bound.
fn check(name: &str, args: &ScalarFunctionArgs, most: usize) -> Result<()> {
    let sizes = args.args.iter().map(Sizes::of).collect::<Result<Vec<_>>>()?;
    let rows = if sizes.iter().all(|sizes| matches!(sizes, Sizes::Same(_))) { 1 } else { args.number_rows };
    let bytes = (0..rows).fold(0_usize, |sum, row| {
        let at = |place: usize| sizes.get(place).map_or(0, |sizes| sizes.at(row));
        sum.saturating_add(made(name, sizes.len(), &at))
    });
    if bytes <= most {
        return Ok(());
    }
    too_long(name, rows, bytes, most)
}

fn too_long<T>(name: &str, rows: usize, bytes: usize, most: usize) -> Result<T> {
    let texts = if rows == 1 { "a text".to_owned() } else { format!("the texts of {rows} rows") };
    exec_err!("{name} makes {texts} of up to {bytes} bytes, and at most {most} are allowed")
}

/// Bytes that a function makes at most of arguments of these sizes.
fn made(name: &str, arguments: usize, at: &dyn Fn(usize) -> usize) -> usize {
    let all = (0..arguments).fold(0_usize, |sum, place| sum.saturating_add(at(place)));
    let first = at(0);
    match name {
        "repeat" => first.saturating_mul(at(1)),
        "lpad" | "rpad" => first.max(at(1).saturating_mul(CHARACTER)),
        "replace" => first.saturating_add((first / at(1).max(1) + 1).saturating_mul(at(2))),
        // A replacement may name what was found, in two bytes.
        "regexp_replace" => first.saturating_add((first + 1).saturating_mul(at(2)).saturating_mul(2)),
        "encode" => first.saturating_mul(2),
        "concat_ws" => all.saturating_add(first.saturating_mul(arguments)),
        "array_to_string" => first.saturating_mul(at(1).saturating_add(at(2)).saturating_add(1)),
        _ => all,
    }
}
