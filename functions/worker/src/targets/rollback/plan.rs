//! Which files go and which come back, with the reasons why they may not.

use super::later::{self, Later};
use super::{Plan, Refusal, Undo, newest};
use crate::error::{Kind, RunError};
use crate::targets::commit::{Property, describe};
use crate::targets::earlier::standing;
use crate::targets::log::{self, Entry};
use crate::targets::rejected;
use crate::targets::table::state;
use crate::targets::watermark::Watermark;
use deltalake::DeltaTable;
use deltalake::kernel::{Action, Add};
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use shared::models::node::LoadMode;
use shared::models::receipt::{RollbackTable, TargetKind, WatermarkMove};
use std::collections::{HashMap, HashSet};

/// Files that are looked for at once.
const AT_ONCE: usize = 32;

impl Undo<'_> {
    /// How the run is undone in the version in which `table` was loaded.
    pub(super) async fn plan(&self, table: DeltaTable) -> Result<Plan, Refusal> {
        let entry = match log::find(&self.place, &table, self.run_id).await {
            Ok(entry) => entry,
            Err(error) if error.kind == Kind::Target => return Err(Refusal::new("LOG_CLEANED", error.message)),
            Err(error) => return Err(error.into()),
        };
        self.check_later(&table, &entry).await?;
        let before = if entry.removed.is_empty() && entry.properties.is_none() {
            None
        } else {
            Some(self.version_before(&entry).await?)
        };
        let (property, watermark) = self.watermark(&table, before.as_ref(), &entry)?;
        let (mut actions, rows_removed) = self.removes(&table, &entry).await?;
        let files_removed = actions.len() as u64;
        let mut restored = match &before {
            Some(before) => self.restored(&table, before, &entry).await?,
            None => Vec::new(),
        };
        for earlier in self.own_before(&table, &entry).await? {
            let before = self.version_before(&earlier).await?;
            restored.extend(self.restored(&table, &before, &earlier).await?);
        }
        let files_restored = restored.len() as u64;
        let rows_restored = restored.iter().map(|add| log::records(add.stats.as_deref())).sum();
        actions.extend(restored.into_iter().map(Action::Add));
        if let Some(property) = property {
            actions.extend(describe(&table, None, Some(property))?);
        }
        let report = RollbackTable {
            schema_id: self.schema.id.clone(),
            kind: if rejected::is_one(&self.schema.id) { TargetKind::Rejected } else { TargetKind::Delta },
            table: self.schema.name.clone(),
            undoes: entry.version,
            version: newest(&table)? + 1,
            files_removed,
            files_restored,
            rows_removed,
            rows_restored,
            watermark,
            already: false,
        };
        Ok(Plan { table, actions, report })
    }

    /// What replaced or merged rows stands or falls with the table as it was: any later change of rows depends on it. Rows
    /// that were only added can go whatever else was added since.
    async fn check_later(&self, table: &DeltaTable, entry: &Entry) -> Result<(), Refusal> {
        let replaces = matches!(
            entry.facts.as_ref().and_then(|facts| facts.load_mode),
            Some(LoadMode::Truncate | LoadMode::Upsert) | None
        );
        if (!replaces && entry.removed.is_empty()) || newest(table)? == entry.version {
            return Ok(());
        }
        let later = later::read(&self.place, table, entry.version + 1).await?;
        let depends: Vec<&Later> =
            later::standing(&later).into_iter().filter(|commit| replaces || !commit.appends()).collect();
        if depends.is_empty() { Ok(()) } else { Err(self.depends(&later::names(&depends))) }
    }

    fn depends(&self, who: &str) -> Refusal {
        Refusal::new(
            "LATER_WRITES",
            format!(
                "the table of the schema {:?} was changed since in a way that depends on the rows of {}: by {who}; roll those back \
                 first, the newest first",
                self.place.schema, self.run_id
            ),
        )
    }

    /// The commits of attempts whose rejected rows the run has itself replaced: what these took out comes back, too.
    async fn own_before(&self, table: &DeltaTable, entry: &Entry) -> Result<Vec<Entry>, Refusal> {
        let mut own = Vec::new();
        let is_first = entry.facts.as_ref().is_none_or(|facts| facts.attempt <= 1);
        if is_first || !rejected::is_one(&self.schema.id) {
            return Ok(own);
        }
        let mut version = entry.version;
        while let Some(below) = version.checked_sub(1) {
            let Some(earlier) = log::newest_of(&self.place, table, below, self.run_id).await? else { break };
            version = earlier.version;
            own.push(earlier);
        }
        Ok(own)
    }

    /// The table as the run found it.
    async fn version_before(&self, entry: &Entry) -> Result<DeltaTable, Refusal> {
        let gone = |why: &str| Refusal::new("LOG_CLEANED", format!("what the run replaced cannot be told: {why}"));
        match self.place.load(Some(entry.version.saturating_sub(1))).await {
            Ok(Some(before)) => Ok(before),
            Ok(None) => Err(gone("the table's log does not reach back to the version before")),
            Err(error) if error.kind == Kind::Target => Err(gone(&error.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes out the files that the run added, or what stands for them since a type was widened; and their rows.
    async fn removes(&self, table: &DeltaTable, entry: &Entry) -> Result<(Vec<Action>, u64), Refusal> {
        let current = standing(table, &entry.files)?;
        if let Some(gone) = entry.files.iter().zip(&current).find(|(_, now)| now.is_none()).map(|(path, _)| path) {
            let later = later::read(&self.place, table, entry.version + 1).await?;
            let by: Vec<&Later> = later.iter().filter(|commit| commit.removed.contains(gone)).collect();
            let by = if by.is_empty() { later::standing(&later) } else { by };
            return Err(self.depends(&later::names(&by)));
        }
        let paths: HashSet<String> = current.into_iter().flatten().collect();
        let (mut actions, mut rows) = (Vec::with_capacity(paths.len()), 0);
        for file in state(table)?.log_data().iter().filter(|file| paths.contains(file.path().as_ref())) {
            if file.deletion_vector_descriptor().is_some() {
                return Err(self.depends("another tool, which has marked rows of it as deleted"));
            }
            rows += log::records(file.stats().as_deref());
            actions.push(Action::Remove(file.remove_action(true)));
        }
        Ok((actions, rows))
    }

    /// The files that the run removed, as they were.
    async fn restored(&self, table: &DeltaTable, before: &DeltaTable, entry: &Entry) -> Result<Vec<Add>, Refusal> {
        // What it had itself written before, in an attempt whose rows another one has replaced, does not come back.
        let own = format!("{}/", self.run_id);
        let removed: Vec<&String> = entry.removed.iter().filter(|path| !path.starts_with(&own)).collect();
        if removed.is_empty() {
            return Ok(Vec::new());
        }
        self.same_types(table, before)?;
        let mut known: HashMap<String, Add> = HashMap::new();
        for file in state(before)?.log_data().iter() {
            #[expect(deprecated, reason = "nothing else makes an action of a file that has one")]
            let add = file.add_action();
            known.insert(add.path.clone(), add);
        }
        let adds = removed.into_iter().map(|path| {
            known.remove(path).ok_or_else(|| {
                RunError::new(Kind::Internal, "a file that the run removed was not in the version before it")
            })
        });
        let adds = adds.collect::<Result<Vec<Add>, RunError>>()?;
        self.are_there(table, &adds).await?;
        Ok(adds)
    }

    /// Files of narrower types cannot come back into a table of wider ones.
    fn same_types(&self, table: &DeltaTable, before: &DeltaTable) -> Result<(), Refusal> {
        let (now, then) = (state(table)?.schema(), state(before)?.schema());
        let other =
            then.fields().find(|field| now.field(field.name()).is_none_or(|f| f.data_type() != field.data_type()));
        match other {
            None => Ok(()),
            Some(field) => Err(Refusal::new(
                "SCHEMA_CHANGED",
                format!(
                    "the column {:?} of the table of the schema {:?} has another type than the files that the run replaced",
                    field.name(),
                    self.place.schema
                ),
            )),
        }
    }

    /// Whether nobody has removed these files from the lake for good.
    async fn are_there(&self, table: &DeltaTable, adds: &[Add]) -> Result<(), Refusal> {
        let store = table.object_store();
        let paths: Vec<String> = adds.iter().map(|add| add.path.clone()).collect();
        let mut found = stream::iter(paths)
            .map(|path| {
                let store = store.clone();
                async move { (store.head(&Path::from(path.as_str())).await, path) }
            })
            .buffered(AT_ONCE);
        let (mut gone, mut first) = (0_usize, String::new());
        while let Some((head, path)) = found.next().await {
            match head {
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => {
                    gone += 1;
                    if gone == 1 {
                        first = path;
                    }
                }
                Err(error) => return Err(self.place.error("read", error.into()).into()),
            }
        }
        if gone == 0 {
            return Ok(());
        }
        Err(Refusal::new(
            "FILES_GONE",
            format!(
                "{gone} of the {} files that the run replaced in the table of the schema {:?} were removed from the lake since (a \
                 vacuum), such as {first:?}; what they held cannot come back",
                adds.len(),
                self.place.schema
            ),
        ))
    }

    /// The watermark as it was before the run, where the run moved it.
    fn watermark(
        &self,
        table: &DeltaTable,
        before: Option<&DeltaTable>,
        entry: &Entry,
    ) -> Result<(Option<Property>, Option<WatermarkMove>), Refusal> {
        let moved = entry.facts.as_ref().and_then(|facts| facts.watermark.as_ref());
        let (Some(moved), Some(before), Some(properties)) = (moved, before, &entry.properties) else {
            return Ok((None, None));
        };
        let key = Watermark::property(&moved.column);
        let was = state(before)?.metadata().configuration().get(&key);
        let became = properties.get(&key);
        if was == became {
            return Ok((None, None));
        }
        let now = state(table)?.metadata().configuration().get(&key);
        let read = |text: Option<&String>| text.and_then(|text| serde_json::from_str::<Watermark>(text).ok());
        if now != became {
            let by = read(now).map_or("another run".to_owned(), |mark| mark.run);
            return Err(Refusal::new(
                "WATERMARK_MOVED",
                format!(
                    "{by} has gone on from the watermark of {:?} to which {} had moved it; roll that back first",
                    moved.column, self.run_id
                ),
            ));
        }
        let value = |text| read(text).map(|mark: Watermark| mark.value);
        let (column, before, after) = (moved.column.clone(), value(now), value(was));
        let told = WatermarkMove { column, before, after, shortened: false };
        Ok((Some((key, was.cloned())), Some(told)))
    }
}
