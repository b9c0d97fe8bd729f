//! What Flowgate's functions have in common: models, roles, store, queue, HTTP. No Arrow, no DataFusion.

pub mod aws;
pub mod caller;
pub mod canonical;
pub mod check;
pub mod clock;
pub mod config;
pub mod context;
pub mod cursor;
pub mod error;
pub mod events;
pub mod fires;
pub mod hosts;
pub mod http;
pub mod id;
pub mod json_path;
pub mod jwks;
pub mod launch;
pub mod models;
pub mod pipelines;
pub mod protection;
pub mod queue;
pub mod receipt;
pub mod roles;
pub mod runtime;
pub mod schedule;
mod sealing;
pub mod secrets;
pub mod sql;
pub mod store;
pub mod strftime;
pub mod token;

pub use error::{Error, Fault, Result};
