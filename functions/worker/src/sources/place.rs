//! Where a connector's files lie: one object store for a local folder and for S3, and what may not be read of it.

use super::{InputFile, buckets, refusals, s3};
use crate::engine::job::{Connector, Settings};
use crate::error::{Kind, RunError};
use futures::TryStreamExt;
use object_store::path::Path as Location;
use object_store::{Error as StoreError, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use shared::models::connector::{AwsS3Config, AzureBlobConfig, ConnectorType, GcsConfig, LocalFsConfig};
use shared::models::node::{FileFormat, FileOptions};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the deployment's own files, which nobody may read.
const STATE: &str = ".state";
/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 64;
/// The most files of one source: [`crate::engine::progress::RowId`] has 20 bits for them.
pub const MAX_FILES: usize = 1 << 20;

/// What a connector's config says about its files.
#[derive(Debug, Clone, Default)]
pub struct Described {
    pub path: String,
    pub format: Option<FileFormat>,
    pub options: Option<FileOptions>,
}

/// A place with files.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    /// The folder of a local place, without symbolic links.
    root: Option<PathBuf>,
    /// The folder of all tables, of every tenant, where that is a local one: nobody reads them as files.
    tables: Option<PathBuf>,
    /// Such as `connector "sales"`, for messages.
    pub name: String,
    /// What no message may show.
    secrets: Arc<[String]>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("store", &self.store).field("root", &self.root).field("name", &self.name).finish()
    }
}

impl Place {
    /// The place of a connector, and what its config says about the files.
    ///
    /// # Errors
    /// `Kind::Source` where the config does not fit or the kind is turned off.
    pub async fn of(connector: &Connector, settings: &Settings) -> Result<(Self, Described), RunError> {
        let name = format!("connector {:?}", connector.name);
        match connector.kind {
            ConnectorType::Postgresql | ConnectorType::Mysql | ConnectorType::RestApi => {
                Err(RunError::new(Kind::Internal, format!("{name}: its type has no files")))
            }
            ConnectorType::Gcs => {
                let config: GcsConfig = read_config(connector)?;
                let store = buckets::google(connector, &config, settings).await?;
                let path = config.prefix.unwrap_or_default();
                Ok((
                    Self::remote(name, connector, store),
                    Described { path, format: config.format, options: config.options },
                ))
            }
            ConnectorType::AzureBlob => {
                let config: AzureBlobConfig = read_config(connector)?;
                let store = buckets::azure(connector, &config, settings).await?;
                let path = config.prefix.unwrap_or_default();
                Ok((
                    Self::remote(name, connector, store),
                    Described { path, format: config.format, options: config.options },
                ))
            }
            ConnectorType::LocalFs => {
                let config: LocalFsConfig = read_config(connector)?;
                let Some(root) = &settings.files_root else {
                    return Err(fault(format!(
                        "{name}: connectors of type local_fs are turned off in this deployment"
                    )));
                };
                let root =
                    root.canonicalize().map_err(|e| fault(format!("{name}: the files root cannot be read: {e}")))?;
                let store = object_store::local::LocalFileSystem::new_with_prefix(&root)
                    .map_err(|_| fault(format!("{name}: the files root cannot be read")))?;
                let described = Described { path: config.path, format: config.format, options: config.options };
                let secrets = Arc::from([]);
                let tables = local_tables(&settings.lake.url);
                Ok((Self { store: Arc::new(store), root: Some(root), tables, name, secrets }, described))
            }
            ConnectorType::AwsS3 => {
                let config: AwsS3Config = read_config(connector)?;
                let store = s3::open(connector, &config, settings).await?;
                let name = format!("{name} (bucket {:?})", config.bucket);
                let path = config.prefix.unwrap_or_default();
                let described = Described { path, format: config.format, options: config.options };
                Ok((Self::remote(name, connector, store), described))
            }
        }
    }

    fn remote(name: String, connector: &Connector, store: impl ObjectStore) -> Self {
        let secrets = buckets::secrets(connector).into();
        Self { store: Arc::new(store), root: None, tables: None, name, secrets }
    }

    /// Whether it is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.root.is_some()
    }

    /// `path` relative to the place's root, without empty and `.` segments.
    ///
    /// # Errors
    /// `Kind::Source` where it leaves the root, or is not readable at all.
    pub fn relative(&self, path: &str) -> Result<String, RunError> {
        let mut given = path;
        if let (Some(root), true) = (&self.root, path.starts_with('/')) {
            given = root
                .to_str()
                .and_then(|root| path.strip_prefix(root.trim_end_matches('/')))
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .ok_or_else(|| {
                    fault(format!(
                        "{}: {path:?} lies outside the files root; name a path inside it, relative to it",
                        self.name
                    ))
                })?;
        }
        let mut segments = Vec::new();
        for segment in given.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    return Err(fault(format!(
                        "{}: {path:?} contains \"..\"; a path cannot leave its root",
                        self.name
                    )));
                }
                STATE if self.is_local() => return Err(self.own(path)),
                other => segments.push(other),
            }
        }
        Ok(segments.join("/"))
    }

    fn own(&self, path: &str) -> RunError {
        fault(format!("{}: {path:?} lies in {STATE:?}, which belongs to Flowgate and cannot be read", self.name))
    }

    /// Checks that a local path does not leave the root by symbolic links.
    ///
    /// # Errors
    /// `Kind::Source` where it does, or is gone.
    pub fn confine(&self, relative: &str) -> Result<(), RunError> {
        let Some(root) = &self.root else { return Ok(()) };
        let real = root
            .join(relative)
            .canonicalize()
            .map_err(|e| fault(format!("{}: {relative:?} cannot be read: {e}", self.name)))?;
        let Ok(inside) = real.strip_prefix(root) else {
            return Err(fault(format!(
                "{}: {relative:?} is a symbolic link that leaves the files root; copy the file into it",
                self.name
            )));
        };
        let state = root.join(STATE).canonicalize();
        if inside.components().any(|c| c.as_os_str() == STATE) || state.is_ok_and(|state| real.starts_with(state)) {
            return Err(self.own(relative));
        }
        if self.holds_tables(&real) {
            return Err(fault(format!(
                "{}: {relative:?} lies in the folder of the tables, which are no files to read; a source reads what \
                 comes from elsewhere",
                self.name
            )));
        }
        Ok(())
    }

    /// Whether a path, without symbolic links, is or lies in the folder of the tables.
    fn holds_tables(&self, real: &Path) -> bool {
        self.tables.as_ref().is_some_and(|tables| real.starts_with(tables))
    }

    /// The file at exactly `relative`; none where there is no such file.
    ///
    /// # Errors
    /// As the store says.
    pub async fn head(&self, relative: &str) -> Result<Option<InputFile>, RunError> {
        if relative.is_empty() {
            return Ok(None);
        }
        if let Some(root) = &self.root {
            let path = root.join(relative);
            if !tokio::fs::metadata(&path).await.is_ok_and(|m| m.is_file()) {
                return Ok(None);
            }
            self.confine(relative)?;
        }
        match self.store.head(&self.location(relative)?).await {
            Ok(meta) => Ok(Some(input_file(meta))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.error(relative, e)),
        }
    }

    /// All files below a folder, unsorted; hidden ones are left out.
    ///
    /// # Errors
    /// As the store says; `Kind::Source` where there are too many or one leaves the root.
    pub async fn list(&self, folder: &str) -> Result<Vec<InputFile>, RunError> {
        if self.is_local() {
            let (place, folder) = (self.clone(), folder.to_owned());
            let paths = tokio::task::spawn_blocking(move || place.walk(&folder)).await.map_err(stopped)??;
            let mut files = Vec::with_capacity(paths.len());
            for path in paths {
                files.extend(self.head(&path).await?);
            }
            return Ok(files);
        }
        let prefix = if folder.is_empty() { None } else { Some(self.location(folder)?) };
        let mut listing = self.store.list(prefix.as_ref());
        let mut files = Vec::new();
        let inside = if folder.is_empty() { 0 } else { folder.len() + 1 };
        while let Some(meta) = listing.try_next().await.map_err(|e| self.error(folder, e))? {
            let path = meta.location.as_ref();
            let hidden = path.get(inside..).unwrap_or_default().split('/').any(|s| s.starts_with('.'));
            // An empty object of a folder's name stands for the folder.
            let is_folder = meta.size == 0 && !meta.location.filename().is_some_and(|name| name.contains('.'));
            if hidden || is_folder {
                continue;
            }
            files.push(input_file(meta));
            if files.len() > MAX_FILES {
                return Err(self.too_many(folder));
            }
        }
        Ok(files)
    }

    fn too_many(&self, folder: &str) -> RunError {
        fault(format!("{}: {folder:?} holds more than {MAX_FILES} files; name a smaller folder or a glob", self.name))
    }

    fn walk(&self, folder: &str) -> Result<Vec<String>, RunError> {
        let Some(root) = &self.root else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut linked = HashSet::new();
        let mut folders = vec![(folder.to_owned(), 0_usize)];
        while let Some((folder, depth)) = folders.pop() {
            let full = root.join(&folder);
            if !full.is_dir() {
                continue;
            }
            self.confine(&folder)?;
            if depth > MAX_DEPTH {
                return Err(fault(format!("{}: {folder:?} lies more than {MAX_DEPTH} folders deep", self.name)));
            }
            let failed = |e: std::io::Error| fault(format!("{}: the folder {folder:?} cannot be read: {e}", self.name));
            for entry in std::fs::read_dir(&full).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    return Err(fault(format!(
                        "{}: the folder {folder:?} holds a file whose name is not UTF-8: {name:?}",
                        self.name
                    )));
                };
                if name.starts_with('.') {
                    continue;
                }
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                let kind =
                    if kind.is_symlink() { linked_kind(self, &path, &entry.path(), &mut linked)? } else { Some(kind) };
                match kind {
                    Some(kind) if kind.is_dir() && self.holds_tables(&entry.path()) => {}
                    Some(kind) if kind.is_dir() => folders.push((path, depth + 1)),
                    Some(kind) if kind.is_file() => found.push(path),
                    _ => {}
                }
                if found.len() > MAX_FILES {
                    return Err(self.too_many(&folder));
                }
            }
        }
        Ok(found)
    }

    /// The names in a folder, folders with a slash behind them; for messages only.
    pub async fn names(&self, folder: &str) -> Option<Vec<String>> {
        if let Some(root) = &self.root {
            self.confine(folder).ok()?;
            let full = root.join(folder);
            let entries = tokio::task::spawn_blocking(move || local_names(&full)).await.ok()?;
            return entries;
        }
        let prefix = if folder.is_empty() { None } else { Some(self.location(folder).ok()?) };
        let listed = self.store.list_with_delimiter(prefix.as_ref()).await.ok()?;
        let names = listed.common_prefixes.iter().filter_map(|p| Some(format!("{}/", p.filename()?)));
        let names: Vec<String> =
            names.chain(listed.objects.iter().filter_map(|o| o.location.filename().map(str::to_owned))).collect();
        // A prefix without objects is not there at all.
        (folder.is_empty() || !names.is_empty()).then_some(names)
    }

    /// The store's path of `relative`.
    ///
    /// # Errors
    /// `Kind::Source` where no path can be written so.
    pub fn location(&self, relative: &str) -> Result<Location, RunError> {
        Location::parse(relative).map_err(|e| fault(format!("{}: {relative:?} is not a path: {e}", self.name)))
    }

    /// Gets a file, or a range of it.
    ///
    /// # Errors
    /// As the store says.
    pub async fn get(&self, relative: &str, options: GetOptions) -> Result<GetResult, RunError> {
        self.confine(relative)?;
        self.store.get_opts(&self.location(relative)?, options).await.map_err(|e| self.error(relative, e))
    }

    /// What the store said, at a file or folder, as a run's error.
    pub fn error(&self, relative: &str, error: StoreError) -> RunError {
        let place = format!("{}: {relative:?}", self.name);
        match &error {
            StoreError::NotFound { .. } => fault(format!("{place} is not there (any more)")),
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => fault(refusals::denied(&place)),
            StoreError::Precondition { .. } => self.changed(relative),
            _ if self.is_local() => fault(format!("{place} cannot be read: {}", self.without_root(&error.to_string()))),
            _ => {
                let text =
                    self.secrets.iter().fold(error.to_string(), |text, secret| text.replace(secret.as_str(), "***"));
                refusals::explain(&place, &text)
            }
        }
    }

    /// A file is another than when it was found.
    pub fn changed(&self, relative: &str) -> RunError {
        let text = format!("{}: {relative:?} was changed while it was read; run again when it is complete", self.name);
        RunError::new(Kind::SourceUnavailable, text)
    }

    fn without_root(&self, text: &str) -> String {
        match self.root.as_ref().and_then(|r| r.to_str()) {
            Some(root) if root.len() > 1 => text.replace(&format!("{root}/"), "").replace(root, "the files root"),
            _ => text.to_owned(),
        }
    }
}

fn linked_kind(
    place: &Place,
    path: &str,
    full: &Path,
    seen: &mut HashSet<PathBuf>,
) -> Result<Option<std::fs::FileType>, RunError> {
    // A link to nowhere is no file.
    let Ok(meta) = std::fs::metadata(full) else { return Ok(None) };
    place.confine(path)?;
    if meta.is_dir() {
        let real = full.canonicalize().map_err(|e| fault(format!("{}: {path:?} cannot be read: {e}", place.name)))?;
        // Links may go round in circles.
        if !seen.insert(real) {
            return Ok(None);
        }
    }
    Ok(Some(meta.file_type()))
}

fn local_names(full: &Path) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(full).ok()?.flatten();
    let named = entries.filter_map(|e| {
        let name = e.file_name().to_str()?.to_owned();
        let slash = if e.file_type().is_ok_and(|t| t.is_dir()) { "/" } else { "" };
        (name != STATE).then(|| format!("{name}{slash}"))
    });
    let mut names: Vec<String> = named.collect();
    names.sort();
    Some(names)
}

/// The local folder of the tables, without symbolic links where it is there already.
fn local_tables(lake: &str) -> Option<PathBuf> {
    let folder = url::Url::parse(lake).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()?;
    Some(folder.canonicalize().unwrap_or(folder))
}

fn input_file(meta: ObjectMeta) -> InputFile {
    InputFile {
        path: meta.location.to_string(),
        size: meta.size,
        etag: meta.e_tag,
        version: meta.version,
        modified: Some(meta.last_modified),
    }
}

pub fn read_config<T: serde::de::DeserializeOwned>(connector: &Connector) -> Result<T, RunError> {
    serde_json::from_value(serde_json::Value::Object(connector.config.clone()))
        .map_err(|e| fault(format!("connector {:?}: its config does not fit: {e}", connector.name)))
}

/// The source is not readable as it is.
pub fn fault(message: impl Into<String>) -> RunError {
    RunError::new(Kind::Source, message)
}

/// A task of ours ended without an answer.
pub fn stopped(error: tokio::task::JoinError) -> RunError {
    RunError::new(Kind::Internal, format!("a task that reads files has stopped: {error}"))
}
