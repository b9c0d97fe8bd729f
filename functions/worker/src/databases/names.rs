//! Names of tables, as connectors and nodes write them.

use super::Dialect;
use std::fmt;

/// A table, in a schema where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: Option<String>,
    pub table: String,
}

impl TableName {
    /// `table` or `schema.table`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, table)) => Self { schema: Some(schema.to_owned()), table: table.to_owned() },
            None => Self { schema: None, table: text.to_owned() },
        }
    }

    /// A table of this name beside this one.
    pub fn beside(&self, table: &str) -> Self {
        Self { schema: self.schema.clone(), table: table.to_owned() }
    }

    /// As a statement names it.
    pub fn quoted(&self, dialect: Dialect) -> String {
        let table = dialect.quote(&self.table);
        match &self.schema {
            Some(schema) => format!("{}.{table}", dialect.quote(schema)),
            None => table,
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        let name = TableName::parse("Sales 2026.or\"der`s");
        assert_eq!(name.quoted(Dialect::Postgresql), "\"Sales 2026\".\"or\"\"der`s\"");
        assert_eq!(name.quoted(Dialect::Mysql), "`Sales 2026`.`or\"der``s`");
        assert_eq!(name.beside("x").to_string(), "Sales 2026.x");
    }
}
