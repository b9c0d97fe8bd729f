//! Uploads that do not come to their end are given up, however it is that they do not.

use crate::targets::uploads::Uploads;
use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Semaphore;

/// A bucket that counts its uploads, begins them and puts files only when it may, and refuses to complete them or does not
/// answer if it is to.
#[derive(Debug)]
struct Bucket {
    inner: InMemory,
    may_begin: Semaphore,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    completed: AtomicUsize,
    aborted: AtomicUsize,
    refuses: AtomicBool,
    keeps_silent: AtomicBool,
}

impl Bucket {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: InMemory::new(), may_begin: Semaphore::new(100), counts: Arc::default() })
    }

    /// Uploads begun, completed and given up.
    fn counts(&self) -> [usize; 3] {
        let Counts { begun, completed, aborted, .. } = &*self.counts;
        [begun, completed, aborted].map(|count| count.load(SeqCst))
    }
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a bucket that counts")
    }
}

#[derive(Debug)]
struct Counted(Box<dyn MultipartUpload>, Arc<Counts>);

#[async_trait]
impl MultipartUpload for Counted {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.0.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.1.refuses.load(SeqCst) {
            return Err(Error::Generic { store: "bucket", source: "403".into() });
        }
        let done = self.0.complete().await?;
        self.1.completed.fetch_add(1, SeqCst);
        if self.1.keeps_silent.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.1.aborted.fetch_add(1, SeqCst);
        self.0.abort().await
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.counts.begun.fetch_add(1, SeqCst);
        self.may_begin.acquire().await.unwrap().forget();
        self.inner.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.counts.begun.fetch_add(1, SeqCst);
        self.may_begin.acquire().await.unwrap().forget();
        let upload = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(Counted(upload, Arc::clone(&self.counts))))
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn an_upload_that_is_complete_stays() {
    let bucket = Bucket::new();
    let uploads = Uploads::new(bucket.clone());
    let mut upload = uploads.put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part("rows".into()).await.unwrap();
    upload.complete().await.unwrap();
    drop(upload);
    uploads.ended().await;
    assert_eq!(bucket.counts(), [1, 1, 0]);
    assert_eq!(bucket.get(&Path::from("a")).await.unwrap().bytes().await.unwrap(), "rows");
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_given_up() {
    let bucket = Bucket::new();
    let uploads = Uploads::new(bucket.clone());
    let mut upload = uploads.put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part("rows".into()).await.unwrap();
    assert!(uploads.ended().now_or_never().is_none(), "it is open");
    drop(upload);
    uploads.ended().await;
    assert_eq!(bucket.counts(), [1, 0, 1]);
}

#[tokio::test]
async fn an_upload_whose_completion_is_refused_is_given_up() {
    let bucket = Bucket::new();
    bucket.counts.refuses.store(true, SeqCst);
    let uploads = Uploads::new(bucket.clone());
    let mut upload = uploads.put_multipart(&Path::from("a")).await.unwrap();
    assert!(upload.complete().await.is_err());
    drop(upload);
    uploads.ended().await;
    assert_eq!(bucket.counts(), [1, 0, 1]);
}

#[tokio::test]
async fn a_file_that_comes_of_an_upload_after_nobody_waits_for_it_any_more_is_removed() {
    let bucket = Bucket::new();
    bucket.counts.keeps_silent.store(true, SeqCst);
    let uploads = Uploads::new(bucket.clone());
    let mut upload = uploads.put_multipart(&Path::from("a")).await.unwrap();
    upload.put_part("rows".into()).await.unwrap();
    assert!(upload.complete().now_or_never().is_none());
    assert!(bucket.head(&Path::from("a")).await.is_ok());
    drop(upload);
    uploads.ended().await;
    assert_eq!(bucket.counts(), [1, 1, 1]);
    assert!(bucket.head(&Path::from("a")).await.is_err());
}

#[tokio::test]
async fn a_file_that_arrives_after_nobody_waits_for_it_any_more_is_removed() {
    for waits in [true, false] {
        let bucket = Bucket::new();
        bucket.may_begin.forget_permits(100);
        let uploads = Uploads::new(bucket.clone());
        let asking = tokio::spawn({
            let uploads = uploads.clone();
            async move { uploads.put(&Path::from("a"), "rows".into()).await }
        });
        while bucket.counts() != [1, 0, 0] {
            tokio::task::yield_now().await;
        }
        if !waits {
            asking.abort();
        }
        bucket.may_begin.add_permits(1);
        assert_eq!(asking.await.is_ok_and(|put| put.is_ok()), waits);
        uploads.ended().await;
        assert_eq!(bucket.head(&Path::from("a")).await.is_ok(), waits);
    }
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_any_more_when_it_begins_is_given_up() {
    let bucket = Bucket::new();
    bucket.may_begin.forget_permits(100);
    let uploads = Uploads::new(bucket.clone());
    let asking = tokio::spawn({
        let uploads = uploads.clone();
        async move { uploads.put_multipart(&Path::from("a")).await.map(drop) }
    });
    while bucket.counts() != [1, 0, 0] {
        tokio::task::yield_now().await;
    }
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    bucket.may_begin.add_permits(1);
    uploads.ended().await;
    assert_eq!(bucket.counts(), [1, 0, 1]);
}
