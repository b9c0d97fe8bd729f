//! An embedded DynamoDB on loopback, with the table that the template declares and its state in a file.

use crate::template::Table;
use dynoxide::Database;
use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest};
use dynoxide::storage::TableMetadata;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often expired items are removed; DynamoDB itself promises no more than "within a few days".
const SWEEP: Duration = Duration::from_secs(60);

/// A running embedded DynamoDB.
pub struct DynamoDb {
    address: SocketAddr,
    stop: CancellationToken,
    /// Aborted where this is dropped without a shutdown.
    tasks: JoinSet<()>,
}

impl DynamoDb {
    /// Serves the table in the file at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// Where the file cannot be opened, or the table cannot be made as the template declares it.
    pub async fn start(path: &Path, table: &Table) -> std::io::Result<Self> {
        let fault = |what: &str, error: String| {
            std::io::Error::other(format!("cannot {what} the table in {}: {error}", path.display()))
        };
        let file = path.to_str().ok_or_else(|| fault("open", "its path is not UTF-8".to_owned()))?.to_owned();
        let wanted = table.clone();
        let database = tokio::task::spawn_blocking(move || open(&file, &wanted))
            .await
            .map_err(|e| fault("open", e.to_string()))?
            .map_err(|e| fault("open", e))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, database.clone(), stop.clone()));
        tasks.spawn(sweep(database, stop.clone()));
        Ok(Self { address, stop, tasks })
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finishes what is being answered, and stops.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        // A client that holds its connection open must not hold the process: what is left is aborted.
        let _ = tokio::time::timeout(Duration::from_secs(2), finish).await;
    }
}

/// Opens the file and makes the table in it where it is missing.
fn open(file: &str, table: &Table) -> Result<Database, String> {
    let database = Database::new(file).map_err(|e| e.to_string())?;
    let expires = match database.get_table_metadata(&table.name).map_err(|e| e.to_string())? {
        Some(found) => {
            fits(&found, table)?;
            found.ttl_attribute.filter(|_| found.ttl_enabled)
        }
        None => {
            let request: CreateTableRequest = serde_json::from_value(table.definition.clone())
                .map_err(|e| format!("its definition in template.yaml: {e}"))?;
            database.create_table(request).map_err(|e| e.to_string())?;
            None
        }
    };
    if let Some(attribute) = table.ttl.as_ref().filter(|attribute| expires.as_ref() != Some(attribute)) {
        let request = UpdateTimeToLiveRequest {
            table_name: table.name.clone(),
            time_to_live_specification: TimeToLiveSpecification { attribute_name: attribute.clone(), enabled: true },
        };
        database.update_time_to_live(request).map_err(|e| e.to_string())?;
    }
    Ok(database)
}

/// Refuses a table that an older or newer Flowgate has made, and whose queries would fail or find nothing.
fn fits(found: &TableMetadata, table: &Table) -> Result<(), String> {
    let stored =
        |text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("its definition in the file: {e}"));
    let indexes = found.gsi_definitions.as_deref().map(stored).transpose()?.unwrap_or_default();
    let found = shape(&stored(&found.key_schema)?, &indexes);
    let wanted = shape(&table.definition["KeySchema"], &table.definition["GlobalSecondaryIndexes"]);
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "another version of Flowgate made it, with other keys or indexes ({found}) than this one needs ({wanted}): start \
         that version, or choose another folder with --data-dir"
    ))
}

/// A table's keys and indexes, without what DynamoDB adds to them.
fn shape(keys: &Value, indexes: &Value) -> Value {
    let index = |index: &Value| {
        let projection = &index["Projection"]["ProjectionType"];
        json!({"IndexName": index["IndexName"], "KeySchema": index["KeySchema"], "ProjectionType": projection})
    };
    json!({"KeySchema": keys, "Indexes": indexes.as_array().into_iter().flatten().map(index).collect::<Vec<_>>()})
}

async fn serve(listener: TcpListener, database: Database, stop: CancellationToken) {
    if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, stop.cancelled_owned()).await {
        tracing::error!(error, "the embedded table stopped");
    }
}

/// Removes expired items from time to time.
async fn sweep(database: Database, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(removed)) => tracing::debug!(removed, "removed expired items"),
            Ok(Err(error)) => tracing::warn!(%error, "expired items could not be removed"),
            Err(error) => tracing::warn!(%error, "expired items could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    #[test]
    fn a_table_of_another_version_is_refused_and_one_of_this_version_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table").display().to_string();
        let table = Template::embedded().unwrap().table;
        let mut older = table.clone();
        older.definition.as_object_mut().unwrap().remove("GlobalSecondaryIndexes");
        let keys = |name: &Value| ["PK", "SK"].iter().any(|key| name["AttributeName"] == *key);
        older.definition["AttributeDefinitions"].as_array_mut().unwrap().retain(keys);
        older.ttl = None;
        drop(open(&file, &older).unwrap());
        let refused = open(&file, &table).map(drop).unwrap_err();
        assert!(refused.contains("GSI1") && refused.contains("--data-dir"), "{refused}");
        // What expires can be told later.
        older.ttl = Some("expiresAt".to_owned());
        for _ in 0..2 {
            let database = open(&file, &older).unwrap();
            let found = database.get_table_metadata(&older.name).unwrap().unwrap();
            assert_eq!((found.ttl_enabled, found.ttl_attribute.as_deref()), (true, Some("expiresAt")));
        }
    }

    #[test]
    fn the_table_of_the_template_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table").display().to_string();
        let table = Template::embedded().unwrap().table;
        drop(open(&file, &table).unwrap());
        drop(open(&file, &table).unwrap());
    }
}
