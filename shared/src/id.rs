//! Ids: a prefix and a UUIDv7 in simple form, so that they sort by time.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::timestamp::context::ContextV7;
use uuid::{Builder, Timestamp, Uuid};

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    Pipeline,
    Run,
    Connector,
    Schema,
    Node,
    Edge,
}

impl Prefix {
    fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "pipe",
            Self::Run => "run",
            Self::Connector => "conn",
            Self::Schema => "schema",
            Self::Node => "node",
            Self::Edge => "edge",
        }
    }
}

fn millis(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp_millis()).unwrap_or(0)
}

/// A new id made at `now`; ids of one process in one millisecond sort in the order in which they were made.
pub fn new(prefix: Prefix, now: DateTime<Utc>) -> String {
    static CONTEXT: std::sync::Mutex<ContextV7> = std::sync::Mutex::new(ContextV7::new());
    let context = CONTEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ms = millis(now);
    let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    let id = Uuid::new_v7(Timestamp::from_unix(&*context, ms / 1000, nanos));
    format!("{}_{}", prefix.word(), id.simple())
}

/// The id of the run that a pipeline's schedule starts at an instant: always the same, so that a fire that is
/// delivered twice is one run.
pub fn scheduled_run(tenant: &str, pipeline: &str, at: DateTime<Utc>) -> String {
    let hash = Sha256::digest(format!("{tenant}#{pipeline}#{}", at.timestamp_millis()));
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    let id = Builder::from_unix_timestamp_millis(millis(at), &random).into_uuid();
    format!("{}_{}", Prefix::Run.word(), id.simple())
}

/// The id of a part of something with the id `whole`, made at the same instant: always the same for the same place in the
/// same version, so that an answer can be given again.
pub fn part(prefix: Prefix, (whole, version): (&str, u32), place: usize, at: DateTime<Utc>) -> String {
    let hash = Sha256::digest(format!("{}#{whole}#{version}#{place}", prefix.word()));
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    let id = Builder::from_unix_timestamp_millis(millis(at), &random).into_uuid();
    format!("{}_{}", prefix.word(), id.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_sort_as_they_were_made() {
        let now = Utc::now();
        let ids: Vec<_> = (0..500).map(|_| new(Prefix::Run, now)).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids[0].starts_with("run_") && ids[0].len() == 4 + 32);
    }

    #[test]
    fn a_scheduled_run_has_one_id() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(scheduled_run("t", "p", at), scheduled_run("t", "p", at));
        assert_ne!(scheduled_run("t", "p", at), scheduled_run("t", "q", at));
        assert!(scheduled_run("t", "p", at) < new(Prefix::Run, Utc::now()));
    }

    #[test]
    fn a_part_has_one_id_and_no_two_parts_have_the_same() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let all: std::collections::HashSet<String> = [
            part(Prefix::Node, ("p", 1), 0, at),
            part(Prefix::Node, ("p", 1), 0, at),
            part(Prefix::Node, ("p", 1), 1, at),
            part(Prefix::Node, ("p", 2), 0, at),
            part(Prefix::Node, ("q", 1), 0, at),
            part(Prefix::Edge, ("p", 1), 0, at),
        ]
        .into();
        assert_eq!(all.len(), 5, "{all:?}");
    }
}
