//! Compiles a run's graph into a DataFusion plan, streams it, and commits what came out of it.

mod accounting;
pub mod check;
mod compile;
pub mod dead_letters;
pub mod exact;
pub mod expressions;
mod functions;
pub mod graph;
pub mod inputs;
pub mod job;
pub mod join_keys;
mod lineage;
mod memory;
mod numbers;
mod overflow;
pub mod parameters;
mod pivots;
pub mod place;
mod placeholders;
mod plan;
pub mod preview;
pub mod progress;
pub mod queries;
mod run;
mod selected;
mod session;
mod shown;
mod spool;
mod story;
pub mod survey;
mod texts;
mod times;
mod written;

#[cfg(test)]
mod tests;

pub use run::execute;
