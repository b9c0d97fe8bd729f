//! The pieces of a table or a query that are read side by side.

use crate::databases::Dialect;
use crate::error::{Kind, RunError};
use shared::models::pipeline::Partitioning;

/// Rows that one statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The table, and which of its rows where there are several pieces.
    pub name: String,
    /// The condition that the rows meet; none for all.
    pub condition: Option<String>,
}

impl Piece {
    /// The piece without the rows that do not meet `condition` too.
    #[must_use]
    pub fn and(self, condition: &str) -> Self {
        let condition = match self.condition {
            Some(own) => format!("{own} AND {condition}"),
            None => condition.to_owned(),
        };
        Self { condition: Some(condition), ..self }
    }
}

/// One piece with all rows.
pub fn whole(name: &str) -> Vec<Piece> {
    vec![Piece { name: name.to_owned(), condition: None }]
}

/// The columns that the rows are divided by.
///
/// # Errors
/// `Kind::Definition` where one is not there.
pub fn keys<'p>(partitioning: &'p Partitioning, server: &str, names: &[&str]) -> Result<Vec<&'p str>, RunError> {
    let keys: Vec<&str> = match partitioning {
        Partitioning::None | Partitioning::File => Vec::new(),
        Partitioning::Hash { columns, .. } => columns.iter().map(String::as_str).collect(),
        Partitioning::Range { column, .. } => vec![column],
    };
    match keys.iter().find(|key| !names.contains(key)) {
        None => Ok(keys),
        Some(missing) => {
            let near = shared::error::nearest(missing, names.iter().copied());
            let near = near.map_or_else(|| format!("it has {}", names.join(", ")), |n| format!("did you mean {n:?}?"));
            Err(RunError::new(
                Kind::Definition,
                format!("executionConfig.partitioning: {server}: there is no column {missing:?}; {near}"),
            ))
        }
    }
}

/// Pieces between `bounds`, which are literals of the dialect in rising order: the first has what lies before the first
/// bound, and null; the last has all that remains.
pub fn ranges(name: &str, dialect: Dialect, column: &str, bounds: &[String]) -> Vec<Piece> {
    let quoted = dialect.quote(column);
    let mut bounds: Vec<&String> = bounds.iter().collect();
    bounds.dedup();
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return whole(name) };
    let piece = |what: String, condition: String| Piece { name: format!("{name}, {what}"), condition: Some(condition) };
    let mut pieces = vec![piece(format!("{column} < {first}"), format!("({quoted} < {first} OR {quoted} IS NULL)"))];
    for (low, high) in bounds.iter().zip(bounds.iter().skip(1)) {
        let condition = format!("({quoted} >= {low} AND {quoted} < {high})");
        pieces.push(piece(format!("{low} <= {column} < {high}"), condition));
    }
    pieces.push(piece(format!("{column} >= {last}"), format!("{quoted} >= {last}")));
    pieces
}

/// Pieces of rows whose hash of the columns leaves the same remainder; `hash` is an expression of the dialect that is
/// never negative and never null.
pub fn hashes(name: &str, hash: &str, count: u16) -> Vec<Piece> {
    if count < 2 {
        return whole(name);
    }
    (0..count)
        .map(|i| Piece {
            name: format!("{name}, part {} of {count}", i + 1),
            condition: Some(format!("{hash} % {count} = {i}")),
        })
        .collect()
}

/// The inner bounds of `count` steps of equal width from `low` to `high`.
pub fn steps(low: i128, high: i128, count: u16) -> Vec<i128> {
    let (count, width) = (i128::from(count), high.saturating_sub(low));
    (1..count).map(|k| low + (width / count) * k + (width % count) * k / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_no_row_out_and_take_none_twice() {
        let bounds = ["10".to_owned(), "20".to_owned(), "20".to_owned()];
        let pieces = ranges("t", Dialect::Postgresql, "i\"d", &bounds);
        let conditions: Vec<_> = pieces.iter().filter_map(|p| p.condition.as_deref()).collect();
        assert_eq!(
            conditions,
            ["(\"i\"\"d\" < 10 OR \"i\"\"d\" IS NULL)", "(\"i\"\"d\" >= 10 AND \"i\"\"d\" < 20)", "\"i\"\"d\" >= 20"]
        );
        assert_eq!(pieces.first().map(|p| p.name.as_str()), Some("t, i\"d < 10"));
        assert_eq!(ranges("t", Dialect::Mysql, "a", &[]), whole("t"));
    }

    #[test]
    fn steps_divide_a_width_evenly() {
        assert_eq!(steps(1, 101, 4), [26, 51, 76]);
        assert_eq!(steps(-1, 1, 2), [0]);
        assert_eq!(steps(i128::from(i64::MIN), i128::from(u64::MAX), 2).len(), 1);
        assert!(steps(5, 5, 1).is_empty());
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_the_nearest() {
        let hash = Partitioning::Hash { columns: vec!["idd".to_owned()], count: 2 };
        let said = keys(&hash, "connector \"c\"", &["id", "name"]).unwrap_err().message;
        assert!(said.ends_with("there is no column \"idd\"; did you mean \"id\"?"), "{said}");
    }
}
