//! Compiles a run's graph into a DataFusion plan, streams it, and commits what came out of it.

mod accounting;
mod compile;
pub mod dead_letters;
pub mod expressions;
mod functions;
pub mod graph;
pub mod job;
mod lineage;
mod overflow;
mod parameters;
mod pivots;
mod placeholders;
pub mod progress;
pub mod queries;
mod run;
mod session;
mod story;

#[cfg(test)]
mod tests;

pub use run::execute;
