//! Files that nobody waits for any more while they are written: what comes of them is removed again.
//!
//! A request that is on its way arrives also where its sender has stopped waiting for it, and then after whoever tidied up
//! there. What was uploaded of a file in parts that never comes to be is paid for, and is in no listing.

use deltalake::logstore::ObjectStoreRef;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A store whose uploads in parts are given up where they are not completed, by an error or since nobody waits for them any
/// more; and files are removed that arrive after that.
#[derive(Debug, Clone)]
pub struct Uploads {
    store: ObjectStoreRef,
    /// What is open, and what is being given up.
    open: TaskTracker,
}

impl Uploads {
    /// The uploads into `store`.
    pub fn new(store: ObjectStoreRef) -> Self {
        let open = TaskTracker::new();
        open.close();
        Self { store, open }
    }

    /// Waits until none is open, and all that were dropped are given up.
    pub async fn ended(&self) {
        self.open.wait().await;
    }
}

impl fmt::Display for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Uploads {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (store, path) = (Arc::clone(&self.store), location.clone());
        let awaited = Arc::new(());
        let waits = Arc::downgrade(&awaited);
        let put = self.open.spawn(async move {
            let put = store.put_opts(&path, payload, opts).await;
            if waits.strong_count() == 0 {
                remove(&store, &path).await;
            }
            put
        });
        let put = put.await;
        drop(awaited);
        put.map_err(|source| Error::JoinError { source })?
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // A task of its own: where nobody waits for the answer any more, it still tells what is to be given up.
        let (store, path, open) = (Arc::clone(&self.store), location.clone(), self.open.clone());
        let begun = self.open.spawn(async move {
            let upload = store.put_multipart_opts(&path, opts).await?;
            Ok::<_, Error>(Upload { upload: Some(upload), completing: false, store, path, open: open.token() })
        });
        Ok(Box::new(begun.await.map_err(|source| Error::JoinError { source })??))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    /// None once it is complete or given up.
    upload: Option<Box<dyn MultipartUpload>>,
    /// Whether it may be complete although nobody has heard of it.
    completing: bool,
    store: ObjectStoreRef,
    path: Path,
    open: TaskTrackerToken,
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.open() {
            Ok(upload) => upload.put_part(data),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.completing = true;
        let done = self.open()?.complete().await?;
        self.upload = None;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.open()?.abort().await?;
        self.upload = None;
        Ok(())
    }
}

impl Upload {
    fn open(&mut self) -> Result<&mut Box<dyn MultipartUpload>> {
        self.upload.as_mut().ok_or_else(|| Error::Generic { store: "upload", source: "it has ended already".into() })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) else { return };
        let (path, store) = (std::mem::take(&mut self.path), Arc::clone(&self.store));
        let completing = self.completing;
        self.open.task_tracker().spawn_on(
            async move {
                match upload.abort().await {
                    Ok(()) | Err(Error::NotFound { .. }) => {}
                    Err(error) => {
                        tracing::warn!(%path, %error, "an upload could not be given up; its parts are left to the bucket's rules");
                    }
                }
                if completing {
                    remove(&store, &path).await;
                }
            },
            &runtime,
        );
    }
}

/// Removes what may have come of a file that nobody waited for.
async fn remove(store: &ObjectStoreRef, path: &Path) {
    match store.delete(path).await {
        Ok(()) | Err(Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%path, %error, "a file that no commit took may be left behind"),
    }
}
