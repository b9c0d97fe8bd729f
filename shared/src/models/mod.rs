//! What the API and the worker speak about.

pub mod connector;
pub mod fire;
pub mod node;
pub mod pipeline;
pub mod receipt;
pub mod run;
pub mod schema;
pub mod time;
