//! What can go wrong, in words for the caller; it knows no HTTP (`http/problem.rs` does).

use serde::Serialize;

/// One fault in a request: where it is, a stable word for it, and a sentence that says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) into the body, `?name` for a query parameter, or the name of a header.
    pub pointer: String,
    /// Stable lower-case word such as `required`, `type`, `unknown_field`, `range`, `pattern`, `not_found`.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.into(), detail: detail.into() }
    }

    /// The same fault seen from the document that holds its document at `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// Everything that a handler can answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token, or one that is not valid. The text is safe to show.
    #[error("{0}")]
    Unauthenticated(String),
    /// The caller is known and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The body or the query has faults; all of them are listed.
    #[error("the request has {} fault(s)", .0.len())]
    Invalid(Vec<Fault>),
    /// The body cannot be read at all (no JSON, wrong encoding).
    #[error("{0}")]
    Malformed(String),
    /// The body is not declared as JSON.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The thing is not there, or belongs to another tenant.
    #[error("{kind} {id:?} does not exist")]
    NotFound {
        /// What was looked for, such as `pipeline`.
        kind: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The path exists with other methods.
    #[error("this path answers {allow}")]
    MethodNotAllowed {
        /// The methods that it answers, as the `Allow` header has them.
        allow: String,
    },
    /// The state of the thing forbids it; `code` is a stable upper-case word.
    #[error("{detail}")]
    Conflict {
        /// Such as `NAME_TAKEN`, `IN_USE`, `RUN_FINAL`.
        code: &'static str,
        /// A sentence for people.
        detail: String,
    },
    /// `If-Match` names another version than the stored one.
    #[error("{0}")]
    PreconditionFailed(String),
    /// The body, or what would be stored, is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The idempotency key was used with another body, or nobody knows with which.
    #[error("{0}")]
    IdempotencyMismatch(String),
    /// The store or the queue asks for less.
    #[error("too many requests; try again shortly")]
    Throttled,
    /// Something behind us does not answer; the source is logged, never shown.
    #[error("{what} is not available")]
    Unavailable {
        /// What is away, in a word that is safe to show: `the store`, `the queue`.
        what: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// It took longer than a request may. The text says what was done and is safe to show.
    #[error("{0}")]
    TimedOut(String),
    /// A defect of ours; the source is logged, never shown.
    #[error("internal error: {0}")]
    Internal(#[source] BoxError),
}

/// Any error, sendable.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A result whose error is ours.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A single fault.
    pub fn fault(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::new(pointer, code, detail)])
    }

    /// `kind` with `id` is not there.
    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }

    /// A conflict with a stable code.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// A defect of ours.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }
}

/// Both, or the faults of both.
///
/// # Errors
/// Those of either; one that is no list of faults comes before all faults.
pub fn both<A, B>(one: Result<A>, other: Result<B>) -> Result<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Error::Invalid(mut faults)), Err(Error::Invalid(more))) => {
            faults.extend(more);
            Err(Error::Invalid(faults))
        }
        (Ok(_) | Err(Error::Invalid(_)), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// Bytes of the longest text for which a near name is looked for: the search costs the product of both lengths.
const LONGEST_NEAR: usize = 64;

/// `name` among `known`, by edit distance, for "did you mean"; none where it is too long to be a name.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_NEAR {
        return None;
    }
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= 1 + k.chars().count().max(name.chars().count()) / 3)
        .min()
        .map(|(_, k)| k)
}
