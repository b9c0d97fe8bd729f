//! Sources of type `rest_api`: an API's pages, one after the other, as records of JSON.

mod api;
mod auth;
mod feed;
mod pager;
mod patience;
mod records;

use self::api::{Api, shown};
use self::feed::{Feed, Spool};
use self::pager::Pager;
use self::patience::Patience;
use self::records::Page;
use super::chunk::{Chunk, Reject, VALUE_CHARS, excerpt, unparsed};
use super::columns::{Declared, Origin, Sample};
use super::decode::Layout;
use super::guess::SAMPLE_ROWS;
use super::place::{fault, read_config};
use super::{InputFile, SourceRequest, merged};
use crate::engine::job::{Connector, Settings};
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use shared::models::connector::RestApiConfig;
use shared::models::node::FileOptions;
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Bytes of pages that are kept from the guessing of types for the reading.
const SAMPLE_BYTES: usize = 64 << 20;
/// What a source counts as whose end is not known: large, so that joins are ready to spill.
const UNKNOWN_SIZE: u64 = 1 << 40;
const NOT_AN_OBJECT: &str = "the record is not a JSON object, such as {\"id\": 1}";

/// A source that asks an API.
#[derive(Debug)]
pub struct RestSource {
    api: Arc<Api>,
    config: RestApiConfig,
    pub layout: Layout,
    /// Records that are known from the start.
    pub estimate: u64,
    /// About how many bytes a row takes, if there is one.
    pub row_bytes: Option<u64>,
    /// Where pages are kept that several consumers read.
    scratch: PathBuf,
    /// What was fetched to learn the columns, until the first reading takes it.
    begun: Mutex<Option<Feed>>,
    /// Consumers that have planned to read.
    scans: AtomicUsize,
    spool: OnceLock<Result<Spool, RunError>>,
}

impl RestSource {
    /// Asks for the first pages and settles the columns.
    ///
    /// # Errors
    /// `Kind::Source` where the API refuses or its answer cannot be read; `Kind::SourceUnavailable` where it does not
    /// answer.
    pub async fn open(
        request: &SourceRequest<'_>,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<(Self, InputFile), RunError> {
        let node = request.config;
        let config: RestApiConfig = read_config(request.connector)?;
        let options = merged(node.options.as_ref(), config.options.as_ref());
        let api = Api::new(request.connector, &config, node.path.as_deref(), settings, Patience::RUN)?;
        let declared = Declared { options: &options, expected: request.expected };
        // A look at the first rows need not ask for more of them.
        let most = request.most_rows.unwrap_or(SAMPLE_ROWS).min(SAMPLE_ROWS);
        let opened = Opened::ask(Arc::new(api), &config, &declared, most).await?;
        if opened.alone {
            progress.log(
                "planning",
                format!("Source {:?}: the first page names no next one, so it is all that is read.", request.node),
            );
        }
        let file = InputFile {
            path: shown(&opened.api.url),
            size: if opened.ended { opened.bytes as u64 } else { UNKNOWN_SIZE },
            etag: None,
            version: None,
            modified: None,
        };
        let source = Self {
            api: opened.api,
            config,
            layout: opened.layout,
            estimate: opened.records as u64,
            row_bytes: opened.bytes.checked_div(opened.records).map(|bytes| bytes as u64),
            scratch: settings.scratch.clone(),
            begun: Mutex::new(Some(opened.feed)),
            scans: AtomicUsize::new(0),
            spool: OnceLock::new(),
        };
        Ok((source, file))
    }

    /// Counts the pages that came.
    pub fn pages(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.api.pages)
    }

    /// One more consumer will read; all of them say so before the first one begins.
    pub fn add_scan(&self) {
        self.scans.fetch_add(1, Ordering::AcqRel);
    }

    /// Begins to read. Several consumers read the same pages, which are then kept on disk; a single one reads them as
    /// they come.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk does not take them.
    pub fn read(self: &Arc<Self>, stop: CancellationToken) -> Result<Pages, RunError> {
        let from = if self.scans.load(Ordering::Acquire) > 1 {
            if let Err(error) = self.spool.get_or_init(|| Spool::new(self.feed(), &self.scratch)) {
                return Err(error.clone());
            }
            From::Spool(0)
        } else {
            From::Feed(Box::new(self.feed()))
        };
        Ok(Pages { source: Arc::clone(self), from, page: Page::default(), next: 0, row: 0, stop })
    }

    fn feed(&self) -> Feed {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        begun.unwrap_or_else(|| Feed { pager: pager(&self.api, &self.config), fetched: VecDeque::new() })
    }
}

fn pager(api: &Arc<Api>, config: &RestApiConfig) -> Pager {
    Pager::new(Arc::clone(api), config.pagination.clone().unwrap_or_default(), config.records_path.clone())
}

/// What the first pages tell.
struct Opened {
    api: Arc<Api>,
    layout: Layout,
    feed: Feed,
    records: usize,
    bytes: usize,
    /// Whether these are all pages.
    ended: bool,
    /// Whether the first page has no mark of a next one.
    alone: bool,
}

impl Opened {
    /// Asks for pages until they hold `most` records.
    async fn ask(
        api: Arc<Api>,
        config: &RestApiConfig,
        declared: &Declared<'_>,
        most: usize,
    ) -> Result<Self, RunError> {
        let nulls = declared.options.null_values.clone().unwrap_or_default();
        let layout = Layout { columns: Vec::new(), nulls, is_json: true, late: HashSet::new() };
        let feed = Feed { pager: pager(&api, config), fetched: VecDeque::new() };
        let mut opened = Self { api, layout, feed, records: 0, bytes: 0, ended: false, alone: false };
        let mut sample = Sample::default();
        while opened.records < most && opened.bytes < SAMPLE_BYTES {
            let Some(page) = opened.feed.pager.next().await? else {
                opened.ended = true;
                break;
            };
            opened.alone |= opened.feed.pager.ended_without_mark();
            for index in 0..page.records.len().min(most - opened.records) {
                sample.see_record(&opened.api.name, page.record(index), &opened.layout.nulls)?;
            }
            opened.records += page.records.len();
            opened.bytes += page.text.len();
            opened.feed.fetched.push_back(page);
        }
        let first = shown(&opened.api.url);
        let origin = Origin { name: &opened.api.name, first: &first };
        sample.settle(&mut opened.layout, declared, origin)?;
        Ok(opened)
    }
}

/// One reading of an API's records.
pub struct Pages {
    source: Arc<RestSource>,
    from: From,
    page: Page,
    /// The next record of the page.
    next: usize,
    row: u64,
    stop: CancellationToken,
}

enum From {
    Feed(Box<Feed>),
    /// The position of the next page.
    Spool(u64),
}

impl Pages {
    /// An empty chunk for the records.
    pub fn chunk(&self) -> Chunk {
        Chunk::new(0, 1, Arc::from([0]))
    }

    /// Puts the next records into `chunk`, until it is full or its page ends; false after the last page. Blocks the
    /// thread.
    ///
    /// # Errors
    /// As the API says.
    pub fn fill(&mut self, chunk: &mut Chunk, most_rows: usize, runtime: &Handle) -> Result<bool, RunError> {
        while self.next >= self.page.records.len() {
            match self.turn(runtime)? {
                Some(page) => (self.page, self.next) = (page, 0),
                None => return Ok(false),
            }
        }
        while self.next < self.page.records.len() && !chunk.is_full(chunk.bytes.len(), most_rows) {
            let record = self.page.record(self.next);
            self.next += 1;
            self.row += 1;
            if record.starts_with('{') {
                // An answer is far below 4 GiB, and a chunk is handed over after its first record of a megabyte.
                chunk.bytes.extend_from_slice(record.as_bytes());
                chunk.ends.push(chunk.bytes.len() as u32);
                chunk.rows.push(self.row);
            } else {
                let value = Some(excerpt(record.as_bytes(), VALUE_CHARS));
                let (reason, whole) = (NOT_AN_OBJECT.to_owned(), unparsed(record.as_bytes()));
                chunk.rejects.push(Reject { row: self.row, column: String::new(), value, reason, whole });
            }
        }
        Ok(true)
    }

    fn turn(&mut self, runtime: &Handle) -> Result<Option<Page>, RunError> {
        match &mut self.from {
            From::Feed(feed) => feed.next(runtime, &self.stop),
            From::Spool(position) => {
                let Some(Ok(spool)) = self.source.spool.get() else {
                    return Err(RunError::new(Kind::Internal, "the pages of an API are not kept"));
                };
                let Some((page, after)) = spool.page(*position, runtime, &self.stop)? else { return Ok(None) };
                *position = after;
                Ok(Some(page))
            }
        }
    }
}

/// A short look for a connector's test: asks for the first page, once.
///
/// # Errors
/// As [`RestSource::open`].
pub async fn probe(connector: &Connector, settings: &Settings) -> Result<String, RunError> {
    let config: RestApiConfig = read_config(connector)?;
    let options: FileOptions = config.options.clone().unwrap_or_default();
    let api = Api::new(connector, &config, None, settings, Patience::LOOK)?;
    let url = shown(&api.url);
    let mut first = pager(&Arc::new(api), &config);
    let page = first.next().await?.unwrap_or_default();
    let mut sample = Sample::default();
    let nulls = options.null_values.clone().unwrap_or_default();
    let objects = (0..page.records.len()).filter(|&index| page.record(index).starts_with('{'));
    for index in objects.clone().take(SAMPLE_ROWS) {
        sample.see_record(url.as_str(), page.record(index), &nulls)?;
    }
    let count = page.records.len();
    if count > 0 && objects.count() == 0 {
        return Err(fault(format!(
            "connector {:?}: none of the {count} records of {url} is a JSON object",
            connector.name
        )));
    }
    let names = sample.names();
    let columns = if names.is_empty() { String::new() } else { format!("; their columns are {}", names.join(", ")) };
    let records = if count == 1 { "record" } else { "records" };
    Ok(format!("The first page of {url} has {count} {records}{columns}."))
}
