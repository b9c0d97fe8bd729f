//! What each node type does to rows: its DataFusion plan, and the steps of ours that count and reject.

pub mod aggregate;
pub mod branch;
pub mod columns;
pub mod deduplicate;
mod evaluate;
pub mod filter;
mod first;
pub mod join;
pub mod ledger;
pub mod lookup;
mod ops;
pub mod partition;
pub mod pivot;
mod range;
mod rows;
pub mod sort;
pub mod sql;
pub mod step;
pub mod tap;
pub mod ties;
pub mod transform;
pub mod union;
pub mod unpivot;
pub mod validate;
mod windows;
