//! Writes the Delta table of a schema: casts, stages, commits once, settles, and reads pages of it.

mod cast;
mod check;
mod columns;
mod commit;
pub mod database;
mod earlier;
mod either;
mod files;
mod hashes;
mod increment;
mod keep_last;
mod keys;
mod log;
mod merge;
mod page;
mod parquet;
mod receipt;
pub mod rejected;
pub mod rollback;
mod sample;
mod settle;
mod stage;
mod table;
mod target;
mod unique;
mod uploads;
mod values;
mod watermark;
mod whole;
mod widen;

pub use cast::{floats, json_texts};
pub use check::{check, fields};
pub use either::{Target, open};
pub use files::unless;
pub use page::{PageRequest, Position, TablePage, read_page};
pub use receipt::recorded;
pub use sample::{Sample, sample};
pub use settle::{Settled, discard, settle, settle_rejected, settle_table};
pub use target::Committed;
pub use values::{json, row_text};
pub use watermark::Watermark;

#[cfg(test)]
mod tests;
