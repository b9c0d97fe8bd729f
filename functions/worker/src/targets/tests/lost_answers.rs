//! A lake whose answers are lost: what was written although the answer says otherwise stays whole.

use super::*;
use crate::error::Kind;
use crate::targets::{table, target, widen};
use async_trait::async_trait;
use deltalake::DeltaTable;
use deltalake::logstore::{ObjectStoreRef, default_logstore};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use std::sync::atomic::AtomicBool;

/// What goes wrong; shared by all that look at the same lake.
#[derive(Debug, Default)]
struct Faults {
    /// The next entry of the log is written, and the answer says that it had been there: the client had sent the request
    /// again after an answer that was an error.
    lose_answer: AtomicBool,
    /// From then on nothing is read.
    then_down: AtomicBool,
    down: AtomicBool,
}

#[derive(Debug)]
struct Flaky {
    inner: ObjectStoreRef,
    faults: Arc<Faults>,
}

impl std::fmt::Display for Flaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a flaky {}", self.inner)
    }
}

impl Flaky {
    fn up(&self) -> Result<(), Error> {
        if self.faults.down.load(Relaxed) {
            return Err(Error::Generic { store: "flaky", source: "503".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult, Error> {
        self.up()?;
        let is_entry = options.mode == PutMode::Create && path.as_ref().ends_with(".json");
        let put = self.inner.put_opts(path, payload, options).await?;
        if is_entry && self.faults.lose_answer.swap(false, Relaxed) {
            self.faults.down.store(self.faults.then_down.load(Relaxed), Relaxed);
            return Err(Error::AlreadyExists { path: path.to_string(), source: "412".into() });
        }
        Ok(put)
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>, Error> {
        self.up()?;
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult, Error> {
        self.up()?;
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path, Error>>) -> BoxStream<'static, Result<Path, Error>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        match self.up() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult, Error> {
        self.up()?;
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<(), Error> {
        self.up()?;
        self.inner.copy_opts(from, to, options).await
    }
}

async fn flaky(table: &DeltaTable, faults: &Arc<Faults>) -> DeltaTable {
    let log = table.log_store();
    let wrap = |inner| -> ObjectStoreRef { Arc::new(Flaky { inner, faults: Arc::clone(faults) }) };
    let (own, root) = (wrap(log.object_store(None)), wrap(log.root_object_store(None)));
    let mut table = DeltaTable::new(default_logstore(own, root, log.root_url(), &Default::default()));
    table.load().await.unwrap();
    table
}

async fn staged(world: &World, faults: &Arc<Faults>) -> Attempt {
    let mut attempt = world.open("run_1", append(), &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[(1, "Ada")])]]).await.unwrap();
    let Target::Lake(target) = &mut attempt.target else { panic!("a target of the lake") };
    let target: &mut target::Target = target;
    target.table = flaky(&target.table, faults).await;
    attempt
}

#[tokio::test]
async fn a_commit_that_meets_itself_keeps_its_files_though_the_log_cannot_be_read_then() {
    let (world, faults) = (World::customers(), Arc::new(Faults::default()));
    let mut attempt = staged(&world, &faults).await;
    faults.lose_answer.store(true, Relaxed);
    faults.then_down.store(true, Relaxed);
    assert_eq!(world.commit(&mut attempt).await.unwrap_err().kind, Kind::TargetUnavailable);
    attempt.target.abort().await;
    assert_eq!(world.people().await, ["1:Ada"], "it was in");
    assert!(world.open("run_1", append(), &[]).await.unwrap().target.already_committed());
}

#[tokio::test]
async fn a_commit_that_meets_itself_finds_itself() {
    let (world, faults) = (World::customers(), Arc::new(Faults::default()));
    let mut attempt = staged(&world, &faults).await;
    faults.lose_answer.store(true, Relaxed);
    let committed = world.commit(&mut attempt).await.unwrap();
    assert_eq!((committed.rows_out, committed.version), (1, 1));
    attempt.target.abort().await;
    assert_eq!(world.people().await, ["1:Ada"]);
    assert_eq!((world.files_on_disk(), world.versions()), (1, 2));
}

#[tokio::test]
async fn a_widening_that_meets_itself_keeps_its_files() {
    for then_down in [false, true] {
        let faults = Arc::new(Faults::default());
        let mut world =
            World::new(json!([{ "name": "id", "dataType": "integer" }, { "name": "name", "dataType": "text" }]));
        world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
        world.schema.fields[0] = serde_json::from_value(json!({ "name": "id", "dataType": "bigint" })).unwrap();
        let place = table::Place::new("acme", &world.schema, &world.settings).unwrap();
        let mut table = flaky(&place.load(None).await.unwrap().unwrap(), &faults).await;
        faults.lose_answer.store(true, Relaxed);
        faults.then_down.store(then_down, Relaxed);
        let met = widen::meet(&place, &mut table, &world.schema).await;
        assert_eq!(met.map(|_| ()).map_err(|e| e.kind), if then_down { Err(Kind::TargetUnavailable) } else { Ok(()) });
        assert_eq!(world.people().await, ["1:Ada"]);
        assert_eq!(world.versions(), 3);
    }
}

#[tokio::test]
async fn what_a_widening_that_was_killed_has_written_goes_with_the_next_one() {
    let mut world =
        World::new(json!([{ "name": "id", "dataType": "integer" }, { "name": "name", "dataType": "text" }]));
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let place = table::Place::new("acme", &world.schema, &world.settings).unwrap();
    let table = place.load(None).await.unwrap().unwrap();
    let file = table.snapshot().unwrap().log_data().iter().next().unwrap().path().to_string();
    let folder = world.table_folder().join(widen::successors(&file).as_ref());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("part-0.parquet"), "half of it").unwrap();
    world.schema.fields[0] = serde_json::from_value(json!({ "name": "id", "dataType": "bigint" })).unwrap();
    world.run("run_2", append(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "2:Bob"]);
    // The narrow file is of an older version of the table, which can still be read.
    assert_eq!(world.files_on_disk(), 3, "the file, what stands for it, and the new one");
}
