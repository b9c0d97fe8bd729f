//! Writes the Delta table of a schema: casts, stages, commits once, settles, and reads pages of it.

mod cast;
mod columns;
mod commit;
mod files;
mod keep_last;
mod log;
mod merge;
mod page;
mod parquet;
mod stage;
mod table;
mod target;
mod unique;

pub use commit::settle;
pub use page::{PageRequest, Position, TablePage, read_page};
pub use target::{Committed, Target, open};

#[cfg(test)]
mod tests;
