//! The statements that bring the staged rows into the table, by load mode.

use super::load::STAGING;
use super::table::Table;
use crate::databases::Dialect;
use shared::models::node::LoadMode;

/// The statements of one transaction, in order.
pub fn statements(table: &Table, mode: LoadMode, keys: &[String]) -> Vec<String> {
    let (target, list) = (table.quoted(), table.list(""));
    let insert = format!("INSERT INTO {target} ({list}) SELECT {list} FROM {STAGING}");
    match mode {
        LoadMode::Append | LoadMode::IncrementalWatermark => vec![insert],
        // Not TRUNCATE: readers see the old rows until the new ones are there, and other tables may refer to it.
        LoadMode::Truncate => {
            let mut all = alone(table);
            all.extend([format!("DELETE FROM {target}"), insert]);
            all
        }
        LoadMode::Upsert => upsert(table, keys, &insert),
    }
}

/// Keeps others from writing the table until the end of the transaction; readers go on.
fn alone(table: &Table) -> Vec<String> {
    match table.dialect {
        Dialect::Postgresql => vec![format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.quoted())],
        // What is deleted or looked for is locked with the gaps between.
        Dialect::Mysql => Vec::new(),
    }
}

fn upsert(table: &Table, keys: &[String], insert: &str) -> Vec<String> {
    let quote = |name: &str| table.dialect.quote(name);
    let others: Vec<String> =
        table.columns.iter().map(|c| c.name.as_str()).filter(|c| !keys.iter().any(|k| k == c)).map(quote).collect();
    let list = |each: &dyn Fn(&String) -> String| others.iter().map(each).collect::<Vec<_>>().join(", ");
    match table.dialect {
        Dialect::Postgresql if table.is_unique(keys) => {
            let keys = table.dialect.list(keys.iter().map(String::as_str));
            let set = list(&|c| format!("{c} = EXCLUDED.{c}"));
            let then = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
            vec![format!("{insert} ON CONFLICT ({keys}) DO {then}")]
        }
        // It meets every unique key, so there may be no other.
        Dialect::Mysql if table.is_only_unique(keys) => {
            let set = list(&|c| format!("{c} = VALUES({c})"));
            let key = keys.first().map(|k| quote(k)).unwrap_or_default();
            let target = table.quoted();
            let set = if set.is_empty() { format!("{key} = {target}.{key}") } else { set };
            vec![format!("{insert} ON DUPLICATE KEY UPDATE {set}")]
        }
        _ => {
            let mut all = alone(table);
            all.extend(without_index(table, keys, &others));
            all
        }
    }
}

/// An upsert by columns that no unique index has: changes the rows that are there, and adds the others.
fn without_index(table: &Table, keys: &[String], others: &[String]) -> Vec<String> {
    let target = table.quoted();
    let quote = |name: &String| table.dialect.quote(name);
    let meet: Vec<String> = keys.iter().map(quote).map(|k| format!("t.{k} = s.{k}")).collect();
    let meet = meet.join(" AND ");
    let list = table.list("");
    let mut all = Vec::new();
    match table.dialect {
        Dialect::Postgresql => {
            all.push(format!("ANALYZE pg_temp.{STAGING}"));
            let set: Vec<String> = others.iter().map(|c| format!("{c} = s.{c}")).collect();
            if !set.is_empty() {
                all.push(format!("UPDATE {target} AS t SET {} FROM {STAGING} AS s WHERE {meet}", set.join(", ")));
            }
            all.push(format!(
                "INSERT INTO {target} ({list}) SELECT {} FROM {STAGING} AS s \
                 WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {meet})",
                table.list("s.")
            ));
        }
        Dialect::Mysql => {
            let set: Vec<String> = others.iter().map(|c| format!("t.{c} = s.{c}")).collect();
            if !set.is_empty() {
                all.push(format!("UPDATE {target} AS t JOIN {STAGING} AS s ON {meet} SET {}", set.join(", ")));
            }
            let absent = keys.first().map(quote).unwrap_or_default();
            all.push(format!(
                "INSERT INTO {target} ({list}) SELECT {} FROM {STAGING} AS s LEFT JOIN {target} AS t ON {meet} \
                 WHERE t.{absent} IS NULL",
                table.list("s.")
            ));
        }
    }
    all
}

/// Counts the staged keys that the database holds for different; fewer than rows where two keys that differ for us are
/// equal there, such as by a collation without case.
pub fn different_keys(table: &Table, keys: &[String]) -> String {
    let keys = table.dialect.list(keys.iter().map(String::as_str));
    format!("SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {STAGING}) AS d")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::TableName;
    use crate::targets::database::table::Column;

    fn table(dialect: Dialect, uniques: &[&[&str]]) -> Table {
        let column = |name: &str| Column { name: name.to_owned(), ..Column::default() };
        Table {
            name: TableName::parse("s.t"),
            dialect,
            columns: vec![column("id"), column("a\"b")],
            fields: Vec::new(),
            uniques: uniques.iter().map(|u| u.iter().map(|c| (*c).to_owned()).collect()).collect(),
        }
    }

    #[test]
    fn an_upsert_uses_the_unique_index_of_its_key_and_no_other() {
        let keys = ["id".to_owned()];
        let of = |table: &Table| statements(table, LoadMode::Upsert, &keys);
        let postgres = of(&table(Dialect::Postgresql, &[&["id"], &["a\"b"]]));
        assert_eq!(
            postgres,
            ["INSERT INTO \"s\".\"t\" (\"id\", \"a\"\"b\") SELECT \"id\", \"a\"\"b\" FROM flowgate_staging \
              ON CONFLICT (\"id\") DO UPDATE SET \"a\"\"b\" = EXCLUDED.\"a\"\"b\""]
        );
        assert!(of(&table(Dialect::Mysql, &[&["id"]]))[0].contains("ON DUPLICATE KEY UPDATE"));
        // With a second unique key it would change rows that have another id.
        let two = of(&table(Dialect::Mysql, &[&["id"], &["a\"b"]]));
        assert!(two.len() == 2 && two[0].starts_with("UPDATE") && two[1].contains("LEFT JOIN"), "{two:?}");
        let none = of(&table(Dialect::Postgresql, &[]));
        assert!(none.len() == 4 && none[0].starts_with("LOCK TABLE"), "{none:?}");
    }

    #[test]
    fn a_replacement_deletes_within_the_transaction() {
        let all = statements(&table(Dialect::Mysql, &[]), LoadMode::Truncate, &[]);
        assert_eq!(all[0], "DELETE FROM `s`.`t`");
        assert_eq!(all.len(), 2);
    }
}
