//! Writes rows into new Parquet files of a table, and removes files that no commit took.

use super::table::Place;
use super::uploads::Uploads;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use deltalake::DeltaTableError;
use deltalake::datafile::writer::{PartitionWriter, PartitionWriterConfig};
use deltalake::kernel::Add;
use deltalake::logstore::ObjectStoreRef;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Bytes after which a file is full.
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(192 * 1024 * 1024).unwrap();
/// Rows and bytes after which a row group is full: this, a partition, is what writing holds in memory.
const GROUP_ROWS: usize = 512 * 1024;
const GROUP_BYTES: usize = 48 * 1024 * 1024;
/// Rows between two looks at a file's size.
const LOOK_ROWS: usize = 8 * 1024;

/// How long work that is stopped may still take to come to an end by itself: a cancelled run is to end within seconds,
/// also where the lake does not answer.
const GRACE: Duration = Duration::from_millis(250);

/// How often it is tried to remove files, and how long is waited between.
const REMOVALS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(200);

/// Where one attempt of a run puts its files: `<run id>/<attempt>-<a number of its own>/` under the table.
#[derive(Debug, Clone)]
pub struct Folder {
    place: Place,
    store: Arc<Uploads>,
    run: Path,
    path: Path,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    pub adds: Vec<Add>,
    pub rows: u64,
}

impl Folder {
    /// A folder of the table at `place` that nobody else writes into.
    ///
    /// # Errors
    /// `Kind::Internal` where the run's id cannot name a folder.
    pub fn new(place: &Place, store: ObjectStoreRef, run_id: &str, attempt: u32) -> Result<Self, RunError> {
        let run = Self::of_run(run_id)?;
        let path = run.clone().join(format!("{attempt}-{}", uuid::Uuid::new_v4().simple()));
        Ok(Self { place: place.clone(), store: Arc::new(Uploads::new(store)), run, path })
    }

    /// A folder of the table at `path`, for files that stand for others of the table.
    pub fn at(place: &Place, store: ObjectStoreRef, path: Path) -> Self {
        Self { place: place.clone(), store: Arc::new(Uploads::new(store)), run: path.clone(), path }
    }

    fn of_run(run_id: &str) -> Result<Path, RunError> {
        let wrong = || RunError::new(Kind::Internal, format!("{run_id:?} cannot name a folder of a table"));
        if run_id.is_empty()
            || run_id.starts_with(['_', '.'])
            || !run_id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        {
            return Err(wrong());
        }
        Path::parse(run_id).map_err(|_| wrong())
    }

    /// Writers into this folder, for rows of `schema`. All of them together have one limit on what is being uploaded.
    ///
    /// # Errors
    /// `Kind::Internal` where the Parquet library refuses the settings.
    pub fn writers(&self, schema: &SchemaRef) -> Result<Writers, RunError> {
        self.writers_of(schema, Some(FILE_BYTES))
    }

    /// The same for one file, however large it becomes.
    ///
    /// # Errors
    /// As [`Folder::writers`].
    pub fn writer_of_one(&self, schema: &SchemaRef) -> Result<Writers, RunError> {
        self.writers_of(schema, None)
    }

    fn writers_of(&self, schema: &SchemaRef, most: Option<NonZeroU64>) -> Result<Writers, RunError> {
        let internal = |e: DeltaTableError| RunError::new(Kind::Internal, format!("no file can be written: {e}"));
        let properties = WriterProperties::builder()
            .set_created_by("flowgate".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        let config = PartitionWriterConfig::try_new(
            SchemaRef::clone(schema),
            Default::default(),
            Some(properties),
            most,
            Some(LOOK_ROWS),
            None,
            Some(self.path.clone()),
        )
        .map_err(internal)?;
        Ok(Writers { folder: self.clone(), config })
    }

    /// Removes what this attempt wrote. Never after a commit that may have happened. What cannot be removed at once is
    /// removed when the run has ended.
    pub async fn remove(&self) {
        let all = async {
            // An upload that ends after its file was looked for would leave it there.
            self.store.ended().await;
            self.remove_below(&self.path, |_| true).await
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!(folder = %self.path, "removing what was staged takes long, and is left for later");
        }
    }

    /// Whether any attempt of the run has written something; so it is said where nobody knows.
    pub async fn is_used(&self) -> bool {
        self.store.list(Some(&self.run)).next().await.is_some()
    }

    /// Removes `adds`, which are in no commit.
    pub async fn remove_files(&self, adds: &[Add]) {
        for add in adds {
            if let Ok(path) = Path::parse(&add.path)
                && let Err(error) = self.store.delete(&path).await
            {
                tracing::warn!(%path, %error, "a file that no commit took is left behind");
            }
        }
    }

    /// Removes what all attempts of the run left, after its one commit, which took `kept`.
    pub async fn remove_others(&self, kept: &HashSet<&str>) {
        self.remove_up_to(u32::MAX, kept).await;
    }

    /// Removes what the attempts of the run up to `last` left, but for `kept`: later ones may still commit what they have
    /// staged.
    pub async fn remove_up_to(&self, last: u32, kept: &HashSet<&str>) {
        self.remove_below(&self.run, |path| !kept.contains(path) && self.attempt_of(path) <= last).await;
    }

    /// The attempt that has staged the file at `path`; 0 where its folder does not say.
    fn attempt_of(&self, path: &str) -> u32 {
        let folder = path.strip_prefix(self.run.as_ref()).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        folder.split('-').next().and_then(|attempt| attempt.parse().ok()).unwrap_or(0)
    }

    /// Removes the files that lie in `folders` below this one, but for `kept`.
    pub async fn remove_in(&self, folders: &HashSet<Path>, kept: &HashSet<&str>) {
        let mut files = self.store.list(Some(&self.path));
        while let Some(file) = files.next().await {
            let removed = match file {
                Ok(file) if kept.contains(file.location.as_ref()) => continue,
                Ok(file) => match file.location.as_ref().rsplit_once('/') {
                    Some((folder, _)) if folders.contains(&Path::from(folder)) => {
                        self.store.delete(&file.location).await
                    }
                    _ => continue,
                },
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(folder = %self.path, %error, "files that no commit took may be left behind");
                return;
            }
        }
    }

    /// Removes the files of a folder that are `left`. False where some of them may be there still.
    async fn remove_below(&self, folder: &Path, left: impl Fn(&str) -> bool) -> bool {
        for again in 1..=REMOVALS {
            match self.try_to_remove(folder, &left).await {
                Ok(()) => {
                    self.remove_empty_folders(folder).await;
                    return true;
                }
                Err(error) if again == REMOVALS => {
                    tracing::warn!(%folder, %error, "files that no commit took are left behind");
                }
                Err(_) => tokio::time::sleep(BETWEEN).await,
            }
        }
        false
    }

    async fn try_to_remove(&self, folder: &Path, left: impl Fn(&str) -> bool) -> object_store::Result<()> {
        let mut files = self.store.list(Some(folder));
        while let Some(file) = files.next().await {
            let path = file?.location;
            if left(path.as_ref()) {
                self.store.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Object stores have no folders; a disk has.
    async fn remove_empty_folders(&self, folder: &Path) {
        let Some(root) = self.place.folder() else { return };
        // Removing one is refused where it still holds something, which is what is wanted.
        if let Ok(mut inside) = tokio::fs::read_dir(root.join(folder.as_ref())).await {
            while let Ok(Some(entry)) = inside.next_entry().await {
                let _ = tokio::fs::remove_dir(entry.path()).await;
            }
        }
        for folder in [folder, &self.run] {
            let _ = tokio::fs::remove_dir(root.join(folder.as_ref())).await;
        }
    }
}

/// Removes all that a run has written into the table, where it is certain that no commit took or will take it. False
/// where something may be left.
pub async fn remove_run(place: &Place, store: ObjectStoreRef, run_id: &str) -> bool {
    match Folder::new(place, store, run_id, 0) {
        Ok(folder) => folder.remove_below(&folder.run, |_| true).await,
        Err(_) => false,
    }
}

/// Makes writers that share their settings and their limit on uploads.
#[derive(Clone)]
pub struct Writers {
    folder: Folder,
    config: PartitionWriterConfig,
}

impl Writers {
    /// Writes one stream; on an error or where `stop` is set, what was begun is given up.
    ///
    /// # Errors
    /// The stream's, `Kind::TargetUnavailable` where the lake does not take the files, `Kind::Cancelled` on `stop`.
    pub async fn write<S>(&self, mut rows: S, stop: &CancellationToken) -> Result<Written, RunError>
    where
        S: Stream<Item = Result<RecordBatch, RunError>> + Unpin,
    {
        let place = &self.folder.place;
        let mut writer = PartitionWriter::try_with_config(
            Arc::clone(&self.folder.store) as ObjectStoreRef,
            self.config.clone(),
            Default::default(),
            None,
        )
        .map_err(|e| place.error("written", e))?;
        let mut count = 0;
        // A writer that is dropped gives up what it was uploading.
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(stopped()),
                batch = rows.next() => batch,
            };
            let Some(batch) = batch.transpose()? else {
                let closed = within(stop, writer.close()).await.ok_or_else(stopped)?;
                return Ok(Written { adds: closed.map_err(|e| place.error("written", e))?, rows: count });
            };
            let wrote = within(stop, writer.write(&batch)).await.ok_or_else(stopped)?;
            wrote.map_err(|e| place.error("written", e))?;
            count += batch.num_rows() as u64;
        }
    }

    /// Writes several streams at once, each into files of its own. The first that fails stops the others.
    ///
    /// # Errors
    /// As [`Writers::write`].
    pub async fn write_all<S>(&self, streams: Vec<S>, stop: &CancellationToken) -> Result<Written, RunError>
    where
        S: Stream<Item = Result<RecordBatch, RunError>> + Send + Unpin + 'static,
    {
        let halt = stop.child_token();
        let mut tasks = JoinSet::new();
        for stream in streams {
            let (writers, halt) = (self.clone(), halt.clone());
            tasks.spawn(async move { writers.write(stream, &halt).await });
        }
        let mut all = Written::default();
        let mut first: Option<RunError> = None;
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(written)) => {
                    all.rows += written.rows;
                    all.adds.extend(written.adds);
                }
                Ok(Err(error)) => {
                    first.get_or_insert(error);
                    halt.cancel();
                }
                Err(error) => {
                    tracing::error!(%error, "a task that wrote rows ended by itself");
                    first.get_or_insert(RunError::new(Kind::Internal, "writing the rows ended unexpectedly"));
                    halt.cancel();
                }
            }
        }
        // Whoever is asked to stop should not hear of what it stopped.
        if stop.is_cancelled() { Err(stopped()) } else { first.map_or(Ok(all), Err) }
    }
}

/// The error of a run that was asked to stop.
pub fn stopped() -> RunError {
    RunError::new(Kind::Cancelled, "the run was stopped before its rows were committed")
}

/// What `work` comes to; none where it was stopped and does not end soon.
async fn within<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(GRACE, work).await.ok()
}

/// What `work` comes to, unless it is stopped before.
///
/// # Errors
/// Its own; `Kind::Cancelled` on `stop`.
pub async fn unless<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(stopped()),
        done = work => done,
    }
}

/// Streams of plans as streams of runs.
pub fn run_errors<S>(stream: S) -> impl Stream<Item = Result<RecordBatch, RunError>> + Send + Unpin + 'static
where
    S: Stream<Item = datafusion::error::Result<RecordBatch>> + Send + Unpin + 'static,
{
    stream.map_err(RunError::from)
}
