//! What each node type does to rows: its DataFusion plan, and the steps of ours that count and reject.

pub mod aggregate;
pub mod columns;
pub mod deduplicate;
mod evaluate;
pub mod filter;
pub mod join;
pub mod ledger;
pub mod partition;
mod ops;
mod range;
mod rows;
pub mod sort;
pub mod step;
pub mod tap;
pub mod transform;
pub mod union;
