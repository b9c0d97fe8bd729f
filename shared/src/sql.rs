//! The parser of the SQL that users write.

use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

/// Most levels of brackets, calls and queries in each other.
pub const MAX_DEPTH: usize = 50;
/// Bytes of stack for a text of so many levels: without optimization sqlparser takes some 150,000 for one alone to say where it
/// stands in the text, and a thread has 2 MiB.
const STACK: usize = 32 << 20;

/// A parser that refuses what is deeper than it may be.
pub fn parser() -> Parser<'static> {
    Parser::new(&GenericDialect {}).with_recursion_limit(MAX_DEPTH)
}

/// Does what goes down into the tree of a text, on a stack that is large enough for the deepest one.
pub fn in_depth<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK, work)
}
