//! Why a stack does not start, in words that say what to do.

use crate::data_folder::DataFolderError;
use crate::template::TemplateError;
use shared::error::BoxError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a stack does not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The address is taken.
    #[error("port {port} of {ip} is taken by another program: stop that one, or choose another address, such as --listen {next}", port = .address.port(), ip = .address.ip(), next = next_to(.address))]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {source} (choose another address with --listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folder that `local_fs` may read is not there.
    #[error("the files root {path} is not a folder that can be read: {source}", path = .path.display())]
    FilesRoot {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lake's address is none.
    #[error("{url:?} is no place for tables: --lake takes s3://bucket/prefix or file:///folder")]
    Lake {
        /// What was given.
        url: String,
    },
    /// A part of the stack does not start.
    #[error("{what} does not start: {source}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Why.
        source: BoxError,
    },
}

pub(super) fn part<E: Into<BoxError>>(what: &'static str) -> impl FnOnce(E) -> StackError {
    move |source| StackError::Part { what, source: source.into() }
}

/// The address with the next port, in the form in which it is typed; behind the last port any free one.
fn next_to(address: &SocketAddr) -> SocketAddr {
    let mut next = *address;
    next.set_port(address.port().wrapping_add(1));
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::Parser;

    #[test]
    fn another_port_is_named_so_that_it_can_be_typed() {
        for (taken, other) in [
            ("127.0.0.1:3000", "127.0.0.1:3001"),
            ("[::1]:3000", "[::1]:3001"),
            ("[fe80::1%2]:3000", "[fe80::1%2]:3001"),
            ("[::]:65535", "[::]:0"),
        ] {
            let said = StackError::PortTaken { address: taken.parse().unwrap() }.to_string();
            let typed = said.split(" such as ").nth(1).unwrap();
            assert_eq!(typed, format!("--listen {other}"));
            let arguments = Arguments::try_parse_from(["flowgate"].into_iter().chain(typed.split(' '))).unwrap();
            assert_eq!(arguments.serve.listen, other.parse::<SocketAddr>().unwrap());
        }
    }
}
