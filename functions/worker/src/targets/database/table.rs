//! The table of a database that is written: made where it is not there, else looked at.

use super::connection::{Connection, Failed};
use super::types;
use crate::databases::{Dialect, TableName, What};
use crate::engine::job::TableSchema;
use crate::error::{Kind, RunError};
use shared::models::schema::Field;

/// A column of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The base name of its type in the database's catalog, such as `int4` or `varchar`.
    pub kind: String,
    /// As the database writes the type, for messages.
    pub shown: String,
    /// The most characters of a text; where it is a `text` of MySQL, the most bytes.
    pub length: Option<u32>,
    pub precision: Option<u32>,
    pub scale: Option<i32>,
    /// Digits behind the second.
    pub fraction: Option<u32>,
    pub nullable: bool,
    /// Whether a row gets a value that names none.
    pub filled: bool,
    /// Whether the database computes it, so that nobody may write it.
    pub computed: bool,
    /// The character set of a text, where the database has several.
    pub charset: Option<String>,
}

/// The table, as far as it matters.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: TableName,
    pub dialect: Dialect,
    /// The columns of the fields, in their order.
    pub columns: Vec<Column>,
    /// The schema's fields, narrowed to what the columns hold.
    pub fields: Vec<Field>,
    /// The columns of each unique index.
    pub uniques: Vec<Vec<String>>,
}

impl Table {
    /// Looks at the table `name`, which is made with the schema's fields where it is not there.
    ///
    /// # Errors
    /// `Kind::Target` where a column does not fit its field, which is named, or where the table's engine has no
    /// transactions; `Kind::TargetUnavailable`.
    pub async fn open(connection: &mut Connection, name: &TableName, schema: &TableSchema) -> Result<Self, RunError> {
        let target = |failed: Failed| failed.fault.target();
        let mut found = columns(connection, name).await.map_err(target)?;
        if found.is_empty() {
            create(connection, name, &schema.fields).await?;
            found = columns(connection, name).await.map_err(target)?;
        }
        let dialect = connection.dialect();
        let uniques = uniques(connection, name).await.map_err(target)?;
        let engine = engine_without_transactions(connection, name).await.map_err(target)?;
        let wrong = |why: String| {
            let server = &connection.server().name;
            RunError::new(Kind::Target, format!("{server}: the table {:?} cannot be written: {why}", name.to_string()))
        };
        if let Some(engine) = engine {
            let why = "has no transactions, so that the rows of a run that is cut off would stay, and its next attempt \
                       would write them again; give the table one that has, such as by";
            let table = name.quoted(dialect);
            return Err(wrong(format!("its engine {engine} {why} ALTER TABLE {table} ENGINE=InnoDB")));
        }
        let (mut fields, mut own) = (Vec::new(), Vec::new());
        for field in &schema.fields {
            let Some(column) = found.iter().find(|c| c.name == field.name) else {
                let near = shared::error::nearest(&field.name, found.iter().map(|c| c.name.as_str()));
                let near = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
                return Err(wrong(format!("it has no column for the field {:?}{near}", field.name)));
            };
            fields.push(types::narrowed(dialect, field, column).map_err(&wrong)?);
            own.push(column.clone());
        }
        let left = found
            .iter()
            .find(|c| !c.nullable && !c.filled && !c.computed && schema.fields.iter().all(|f| f.name != c.name));
        if let Some(left) = left {
            let why = "may not be null, has no default, and is no field of the schema";
            return Err(wrong(format!("its column {:?} {why} {:?}", left.name, schema.name)));
        }
        Ok(Self { name: name.clone(), dialect, columns: own, fields, uniques })
    }

    /// What tells the table from all others of all servers, by whichever name and connection it was reached.
    ///
    /// # Errors
    /// As the server says.
    pub async fn identity(&self, connection: &mut Connection) -> Result<String, Failed> {
        let statement = match self.dialect {
            Dialect::Postgresql => format!(
                "SELECT concat_ws(' ', pg_postmaster_start_time(), \
                 (SELECT oid FROM pg_database WHERE datname = current_database()), to_regclass({})::oid)",
                connection.literal(&self.quoted())
            ),
            // The ledger knows tables by names in which letters' case is all one.
            Dialect::Mysql => format!(
                "SELECT concat_ws(' ', @@hostname, @@port, @@datadir, lower({}), lower({}))",
                database(connection, &self.name),
                connection.literal(&self.name.table)
            ),
        };
        let rows = connection.rows(&statement).await?;
        Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
    }

    /// The name as a statement writes it.
    pub fn quoted(&self) -> String {
        self.name.quoted(self.dialect)
    }

    /// The columns' names in a list, each behind `prefix`.
    pub fn list(&self, prefix: &str) -> String {
        let names: Vec<String> =
            self.columns.iter().map(|c| format!("{prefix}{}", self.dialect.quote(&c.name))).collect();
        names.join(", ")
    }

    /// Whether a unique index has exactly these columns.
    pub fn is_unique(&self, keys: &[String]) -> bool {
        self.uniques.iter().any(|unique| same(unique, keys))
    }

    /// Whether these columns are the only ones that must be unique.
    pub fn is_only_unique(&self, keys: &[String]) -> bool {
        self.is_unique(keys) && self.uniques.iter().all(|unique| same(unique, keys))
    }
}

fn same(unique: &[String], keys: &[String]) -> bool {
    unique.len() == keys.len() && keys.iter().all(|key| unique.contains(key))
}

async fn create(connection: &mut Connection, name: &TableName, fields: &[Field]) -> Result<(), RunError> {
    let dialect = connection.dialect();
    let collation = match dialect {
        Dialect::Postgresql => String::new(),
        Dialect::Mysql => collation(connection).await.map_err(|failed| failed.fault.target())?,
    };
    let kinds = types::declared_all(dialect, fields).map_err(|why| RunError::new(Kind::Definition, why))?;
    let null = |field: &Field| if field.nullable() { "NULL" } else { "NOT NULL" };
    let declared = fields.iter().zip(&kinds);
    let mut parts: Vec<String> =
        declared.map(|(field, kind)| format!("{} {kind} {}", dialect.quote(&field.name), null(field))).collect();
    let keys: Vec<&str> = fields.iter().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.as_str()).collect();
    let single = fields.iter().zip(&kinds).filter(|(field, kind)| {
        field.is_unique == Some(true) && keys != [field.name.as_str()] && types::can_be_indexed(dialect, kind)
    });
    parts.extend(single.map(|(field, _)| format!("UNIQUE ({})", dialect.quote(&field.name))));
    if !keys.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", dialect.list(keys)));
    }
    let statement = format!("CREATE TABLE IF NOT EXISTS {} ({}){collation}", name.quoted(dialect), parts.join(", "));
    match connection.run(&statement).await {
        Ok(_) => Ok(()),
        Err(failed) if failed.again || failed.duplicate => Ok(()),
        Err(failed) => {
            let kind = if failed.fault.what == What::Away { Kind::TargetUnavailable } else { Kind::Target };
            let why = format!("the table {:?} is not there and cannot be made", name.to_string());
            Err(RunError::new(kind, format!("{why}: {}", failed.fault.message)))
        }
    }
}

/// Texts that differ are different: in letters' case, accents, and where the server can, blanks at the end.
async fn collation(connection: &mut Connection) -> Result<String, Failed> {
    const KNOWN: &str = "SELECT COLLATION_NAME FROM information_schema.COLLATIONS \
                         WHERE COLLATION_NAME IN ('utf8mb4_0900_bin', 'utf8mb4_nopad_bin') LIMIT 1";
    let found = connection.rows(KNOWN).await?;
    let name = found.first().and_then(|row| row.first().cloned().flatten());
    let name = name.unwrap_or_else(|| "utf8mb4_bin".to_owned());
    Ok(format!(" ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE {name}"))
}

/// The columns, none where the table is not there.
async fn columns(connection: &mut Connection, name: &TableName) -> Result<Vec<Column>, Failed> {
    let statement = match connection.dialect() {
        Dialect::Postgresql => format!(
            "SELECT a.attname, coalesce(b.typname, t.typname), format_type(a.atttypid, a.atttypmod), \
             CASE WHEN coalesce(b.typname, t.typname) IN ('varchar', 'bpchar') AND m.mod > 4 THEN m.mod - 4 END, \
             CASE WHEN coalesce(b.typname, t.typname) = 'numeric' AND m.mod > 4 THEN ((m.mod - 4) >> 16) & 65535 END, \
             CASE WHEN coalesce(b.typname, t.typname) = 'numeric' AND m.mod > 4 \
                  THEN (((m.mod - 4) & 2047) # 1024) - 1024 END, \
             CASE WHEN coalesce(b.typname, t.typname) IN ('timestamp', 'timestamptz') AND m.mod >= 0 THEN m.mod ELSE 6 END, \
             NOT a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', NULL \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype \
             CROSS JOIN LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS mod) m \
             WHERE a.attrelid = to_regclass({}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            connection.literal(&name.quoted(Dialect::Postgresql))
        ),
        Dialect::Mysql => format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, \
             DATETIME_PRECISION, IF(IS_NULLABLE = 'YES', 't', 'f'), \
             IF(COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%auto_increment%', 't', 'f'), \
             IF(EXTRA LIKE '%GENERATED%' AND EXTRA NOT LIKE '%DEFAULT_GENERATED%', 't', 'f'), CHARACTER_SET_NAME \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            database(connection, name),
            connection.literal(&name.table)
        ),
    };
    Ok(connection.rows(&statement).await?.into_iter().map(column).collect())
}

fn column(row: Vec<Option<String>>) -> Column {
    fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
        text.and_then(|t| t.parse().ok())
    }
    let mut values = row.into_iter();
    let mut next = || values.next().flatten();
    Column {
        name: next().unwrap_or_default(),
        kind: next().unwrap_or_default().to_lowercase(),
        shown: next().unwrap_or_default(),
        length: number(next()),
        precision: number(next()),
        scale: number(next()),
        fraction: number(next()),
        nullable: next().as_deref() == Some("t"),
        filled: next().as_deref() == Some("t"),
        computed: next().as_deref() == Some("t"),
        charset: next(),
    }
}

/// The engine of a table of MySQL where it has no transactions: what is written there stays although it is rolled back.
/// A view has no engine of its own. Which tables lie below it MariaDB does not list at all, and MySQL only where the user has
/// a right to them, which the user of a view need not have: such tables are not seen.
async fn engine_without_transactions(connection: &mut Connection, name: &TableName) -> Result<Option<String>, Failed> {
    if connection.dialect() == Dialect::Postgresql {
        return Ok(None);
    }
    let statement = format!(
        "SELECT t.ENGINE FROM information_schema.TABLES t \
         LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
         WHERE t.TABLE_SCHEMA = {} AND t.TABLE_NAME = {} AND t.ENGINE IS NOT NULL \
         AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES'",
        database(connection, name),
        connection.literal(&name.table)
    );
    Ok(connection.rows(&statement).await?.into_iter().flatten().flatten().next())
}

fn database(connection: &Connection, name: &TableName) -> String {
    name.schema.as_ref().map_or_else(|| "DATABASE()".to_owned(), |schema| connection.literal(schema))
}

/// The columns of each unique index that holds for all rows and whole values.
async fn uniques(connection: &mut Connection, name: &TableName) -> Result<Vec<Vec<String>>, Failed> {
    let statement = match connection.dialect() {
        Dialect::Postgresql => format!(
            "SELECT i.indexrelid::text, a.attname FROM pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indrelid = to_regclass({}) AND i.indisunique AND i.indisvalid AND i.indimmediate \
             AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts ORDER BY 1, k.place",
            connection.literal(&name.quoted(Dialect::Postgresql))
        ),
        Dialect::Mysql => format!(
            "SELECT INDEX_NAME, IF(SUB_PART IS NULL, COLUMN_NAME, CONCAT(COLUMN_NAME, '(', SUB_PART, ')')) \
             FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = {} AND TABLE_NAME = {} \
             ORDER BY INDEX_NAME, SEQ_IN_INDEX",
            database(connection, name),
            connection.literal(&name.table)
        ),
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in connection.rows(&statement).await? {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        let (index, column) = (values.next().unwrap_or_default(), values.next().unwrap_or_default());
        match found.last_mut() {
            Some((last, columns)) if *last == index => columns.push(column),
            _ => found.push((index, vec![column])),
        }
    }
    Ok(found.into_iter().map(|(_, columns)| columns).collect())
}
