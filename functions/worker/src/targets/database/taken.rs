//! Values that rows of the table have already: a staged row that brings one of them under another key is rejected, before
//! the transaction in which the database would refuse all rows for it.
//!
//! A value counts as taken as long as the table has it, also where the run would change the row that has it: the database
//! looks at each row as it comes, and which comes first is not ours to say.

use super::connection::{Connection, Failed, Texts};
use super::load::STAGING;
use super::table::Table;
use crate::databases::Dialect;
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::RunError;
use crate::targets::stage::Reporter;
use serde_json::{Map, Value};
use shared::models::node::LoadMode;
use std::sync::atomic::Ordering::Relaxed;

/// The column of the staging table that marks such rows.
const TAKEN: &str = "__flowgate_taken";
/// Rows that are reported at a time.
const PAGE: u64 = 1000;

/// The columns whose values together must be unique in the whole table, of which a load in this mode may bring some that
/// are taken.
pub fn rules(table: &Table, mode: LoadMode, keys: &[String]) -> Vec<Vec<String>> {
    let fields = || table.fields.iter();
    let single = fields().filter(|f| f.is_unique == Some(true)).map(|f| vec![f.name.clone()]);
    let mut all: Vec<Vec<String>> = match mode {
        // Whatever is there goes.
        LoadMode::Truncate => return Vec::new(),
        // Here they are unique within the run, unless the table itself says more.
        LoadMode::Append | LoadMode::IncrementalWatermark => single.filter(|names| table.is_unique(names)).collect(),
        LoadMode::Upsert => {
            let primary: Vec<String> =
                fields().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.clone()).collect();
            let indexed = table.uniques.iter().filter(|unique| unique.iter().all(|c| fields().any(|f| f.name == *c)));
            single.chain([primary]).chain(indexed.cloned()).collect()
        }
    };
    // PostgreSQL does not compare the type json.
    let is_json = |name: &String| table.columns.iter().any(|c| c.name == *name && c.kind == "json");
    all.retain(|names| !names.iter().any(is_json));
    // What is unique by the keys needs no look.
    all.retain(|names| !names.is_empty() && (keys.is_empty() || !keys.iter().all(|key| names.contains(key))));
    all.sort();
    all.dedup();
    all
}

/// Rejects the staged rows that break a rule; answers how many.
///
/// # Errors
/// `Kind::Data` where the pipeline takes no more rejects; as the database says.
pub async fn reject(
    connection: &mut Connection,
    table: &Table,
    rules: &[Vec<String>],
    keys: &[String],
    reporter: &Reporter,
) -> Result<u64, RunError> {
    let target = |failed: Failed| failed.fault.target();
    let mut all = 0;
    let add = format!("ALTER TABLE {STAGING} ADD COLUMN {TAKEN} smallint NULL");
    connection.run(&add).await.map_err(target)?;
    for names in rules {
        let marked = connection.run(&mark(table, names, keys)).await.map_err(target)?;
        if marked == 0 {
            continue;
        }
        for page in 0..marked.div_ceil(PAGE) {
            let rows = connection.rows(&listed(table, names, keys, page * PAGE)).await.map_err(target)?;
            report(table, names, rows, reporter)?;
        }
        connection.run(&format!("DELETE FROM {STAGING} WHERE {TAKEN} = 1")).await.map_err(target)?;
        reporter.counters.rows_out.fetch_sub(marked, Relaxed);
        all += marked;
    }
    Ok(all)
}

fn mark(table: &Table, names: &[String], keys: &[String]) -> String {
    let quote = |name: &String| table.dialect.quote(name);
    let meet: Vec<String> = names.iter().map(quote).map(|c| format!("t.{c} = s.{c}")).collect();
    let mut conditions = vec![meet.join(" AND ")];
    if !keys.is_empty() {
        let same: Vec<String> = keys
            .iter()
            .map(quote)
            .map(|key| match table.dialect {
                Dialect::Postgresql => format!("t.{key} IS NOT DISTINCT FROM s.{key}"),
                Dialect::Mysql => format!("t.{key} <=> s.{key}"),
            })
            .collect();
        conditions.push(format!("NOT ({})", same.join(" AND ")));
    }
    let found = format!("EXISTS (SELECT 1 FROM {} AS t WHERE {})", table.quoted(), conditions.join(" AND "));
    format!("UPDATE {STAGING} AS s SET {TAKEN} = 1 WHERE {found}")
}

fn listed(table: &Table, names: &[String], keys: &[String], offset: u64) -> String {
    let (list, row) = (table.list(""), table.dialect.quote(ROW_COLUMN));
    // Rows that do not know where they came from are told apart by what is unique in the run.
    let order = table.dialect.list(names.iter().chain(keys).map(String::as_str));
    format!(
        "SELECT {row}, {list} FROM {STAGING} WHERE {TAKEN} = 1 ORDER BY {row}, {order} LIMIT {PAGE} OFFSET {offset}"
    )
}

fn report(table: &Table, names: &[String], rows: Texts, reporter: &Reporter) -> Result<(), RunError> {
    for row in rows {
        let mut values = row.into_iter();
        let id = values.next().flatten().and_then(|id| id.parse().ok()).map(RowId);
        let whole: Map<String, Value> =
            table.columns.iter().map(|c| c.name.clone()).zip(values.map(Value::from)).collect();
        let of = |name: &String| whole.get(name).and_then(Value::as_str).unwrap_or_default();
        let value = names.iter().map(of).collect::<Vec<_>>().join(", ");
        let names = names.join(", ");
        let reason = format!("{value:?} is not unique in {names:?}: a row of the table with another key has it");
        let text = || Some(Value::Object(whole.clone()).to_string());
        reporter.progress.reject_row(&reporter.counters, id, &names, Some(&value), &reason, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::TableName;
    use serde_json::json;

    fn table(uniques: &[&[&str]]) -> Table {
        let field = |value| serde_json::from_value(value).unwrap();
        Table {
            name: TableName::parse("t"),
            dialect: Dialect::Mysql,
            columns: Vec::new(),
            fields: vec![
                field(json!({"name": "id", "dataType": "integer", "isPrimaryKey": true})),
                field(json!({"name": "mail", "dataType": "text", "isUnique": true})),
                field(json!({"name": "code", "dataType": "text"})),
            ],
            uniques: uniques.iter().map(|u| u.iter().map(|c| (*c).to_owned()).collect()).collect(),
        }
    }

    #[test]
    fn what_must_be_unique_depends_on_the_load_mode_and_its_keys() {
        let table = table(&[&["id"], &["code"], &["not_ours"]]);
        let of = |mode, keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
            rules(&table, mode, &keys).iter().map(|names| names.join("+")).collect::<Vec<_>>()
        };
        assert_eq!(of(LoadMode::Upsert, &["id"]), ["code", "mail"]);
        assert_eq!(of(LoadMode::Upsert, &["mail"]), ["code", "id"]);
        assert!(of(LoadMode::Append, &[]).is_empty() && of(LoadMode::Truncate, &[]).is_empty());
    }

    #[test]
    fn a_value_under_the_same_key_is_not_taken() {
        let names = ["mail".to_owned()];
        assert_eq!(
            mark(&table(&[]), &names, &["id".to_owned()]),
            "UPDATE flowgate_staging AS s SET __flowgate_taken = 1 WHERE EXISTS (SELECT 1 FROM `t` AS t \
             WHERE t.`mail` = s.`mail` AND NOT (t.`id` <=> s.`id`))"
        );
    }
}
