//! The whole of Flowgate in one process: gateway, table, queue, worker and clock, for a laptop and for tests.

pub mod arguments;
pub mod console;
pub mod data_folder;
pub mod demo;
pub mod dynamodb;
pub mod functions;
pub mod gateway;
pub mod serve;
pub mod sqs;
pub mod stack;
pub mod template;
pub mod token;
pub mod triggers;
pub mod verify;

pub use stack::{Options, Stack, StackError};

/// Chooses one of the two TLS providers that are linked in; without a choice rustls refuses to begin.
pub fn choose_tls() {
    // A second call finds the choice made, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
