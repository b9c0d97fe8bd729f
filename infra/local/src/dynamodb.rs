//! An embedded DynamoDB on loopback, with the table that the template declares and its state in a file.

use crate::template::Table;
use dynoxide::Database;
use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest};
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
    if database.get_table_metadata(&table.name).map_err(|e| e.to_string())?.is_some() {
        return Ok(database);
    }
    let request: CreateTableRequest = serde_json::from_value(table.definition.clone())
        .map_err(|e| format!("its definition in template.yaml: {e}"))?;
    database.create_table(request).map_err(|e| e.to_string())?;
    if let Some(attribute) = &table.ttl {
        let request = UpdateTimeToLiveRequest {
            table_name: table.name.clone(),
            time_to_live_specification: TimeToLiveSpecification { attribute_name: attribute.clone(), enabled: true },
        };
        database.update_time_to_live(request).map_err(|e| e.to_string())?;
    }
    Ok(database)
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
