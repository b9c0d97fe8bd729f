//! The worker: takes runs off the queue and executes them. The only package that knows DataFusion.

pub mod answer;
mod backoff;
mod beside;
mod claim;
mod counts;
pub mod databases;
pub mod deadline;
pub mod engine;
pub mod error;
mod gate;
mod heartbeat;
mod job;
mod leftovers;
mod life;
pub mod nodes;
mod purge;
mod receipt;
mod report;
mod rollback;
mod room;
mod settle;
pub mod sources;
pub mod start;
mod stretch;
pub mod targets;
mod trial;

pub use life::{Done, Worker};
pub use stretch::Pace;
