//! Why a run ended early: what kind of thing went wrong, at which node, and whether trying again can help.

use datafusion::error::DataFusionError;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The pipeline cannot run as it is defined: a missing column, a type that an expression cannot take.
    Definition,
    /// The source is not there or not readable as it is, and will not be next time either.
    Source,
    /// The source did not answer; the next attempt may succeed.
    SourceUnavailable,
    /// The rows broke a limit that the pipeline sets (`onError: fail`, `maxErrors`, `maxErrorRate`).
    Data,
    /// Values for which there is no result, although the pipeline is right: a sum that no bigint holds.
    Value,
    /// The target refuses what is to be written, and will next time too.
    Target,
    /// The target did not answer; the next attempt may succeed.
    TargetUnavailable,
    /// The run was cancelled.
    Cancelled,
    /// Another worker has the run, or it is final: nothing may be written any more.
    Superseded,
    /// The run took longer than it may.
    Timeout,
    /// The memory or disk that the worker has was not enough.
    Resources,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// The stable word in a run's `error.code`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Definition => "INVALID_PIPELINE",
            Self::Source => "SOURCE_ERROR",
            Self::SourceUnavailable => "SOURCE_UNAVAILABLE",
            Self::Data => "TOO_MANY_ERRORS",
            Self::Value => "DATA_ERROR",
            Self::Target => "TARGET_ERROR",
            Self::TargetUnavailable => "TARGET_UNAVAILABLE",
            Self::Cancelled => "CANCELLED",
            Self::Superseded => "SUPERSEDED",
            Self::Timeout => "TIMEOUT",
            Self::Resources => "RESOURCES_EXHAUSTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether another attempt can help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::SourceUnavailable | Self::TargetUnavailable | Self::Resources | Self::Internal)
    }
}

/// Why a run ended early. `message` is safe to show to the tenant: it names nodes, files, columns and values of
/// theirs, never a secret or a path of the worker's outside the files root.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// The id of the node at which it went wrong.
    pub node: Option<String>,
    /// A sentence that says what, where, and what would be right.
    pub message: String,
    /// Where in its node it is: a JSON Pointer below the node, such as `/config/ops/1/expr`.
    pub pointer: Option<String>,
    /// The single errors, where this is several in one.
    pub parts: Vec<RunError>,
}

impl RunError {
    /// An error of `kind` with a sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, node: None, message: message.into(), pointer: None, parts: Vec::new() }
    }

    /// The same error, at `node` unless it already names one.
    #[must_use]
    pub fn at(mut self, node: &str) -> Self {
        self.node.get_or_insert_with(|| node.to_owned());
        self.parts = self.parts.into_iter().map(|part| part.at(node)).collect();
        self
    }

    /// The same error, at this place of its node unless it already has one.
    #[must_use]
    pub fn within(mut self, pointer: impl Into<String>) -> Self {
        self.pointer.get_or_insert_with(|| pointer.into());
        self
    }

    /// The single errors that it is made of.
    pub fn each(self) -> Vec<Self> {
        if self.parts.is_empty() { vec![self] } else { self.parts }
    }

    /// All of `errors` as one, which says each sentence once and is of the kind and at the node of the first one.
    /// What is wrong outside of the pipeline decides over what is wrong with it. None where there are none.
    pub fn all(errors: Vec<Self>) -> Option<Self> {
        let mut parts: Vec<Self> = Vec::with_capacity(errors.len());
        for part in errors.into_iter().flat_map(Self::each) {
            if parts.iter().all(|known| known.message != part.message || known.node != part.node) {
                parts.push(part);
            }
        }
        if parts.len() < 2 {
            return parts.pop();
        }
        let first = parts.iter().find(|part| part.kind != Kind::Definition).or(parts.first()).cloned()?;
        let mut messages: Vec<&str> = parts.iter().map(|part| part.message.as_str()).collect();
        messages.dedup();
        Some(Self { message: messages.join("; "), pointer: None, parts, ..first })
    }
}

impl From<RunError> for DataFusionError {
    fn from(error: RunError) -> Self {
        Self::External(Box::new(error))
    }
}

/// What a plan ended with: our own error where one lies inside, else one by DataFusion's kind.
impl From<DataFusionError> for RunError {
    fn from(error: DataFusionError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(e) = cause {
            if let Some(own) = e.downcast_ref::<RunError>() {
                return own.clone();
            }
            // `Arc<DataFusionError>` and `Box<dyn Error>` hide what they hold from `source()`.
            cause = match e.downcast_ref::<DataFusionError>() {
                Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
                Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
                Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
                _ => e.source(),
            };
        }
        let kind = match error.find_root() {
            DataFusionError::ResourcesExhausted(why) => {
                let message = format!(
                    "the plan needs more memory than the worker may use: {why}; give it more (FLOWGATE_MEMORY_MIB, or flowgate serve --memory), or let a run hold less at once (batchSize and parallelism in executionConfig)"
                );
                return Self::new(Kind::Resources, message);
            }
            DataFusionError::IoError(_) => Kind::Resources,
            DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => {
                Kind::Definition
            }
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => Kind::Value,
            _ => Kind::Internal,
        };
        Self::new(kind, error.strip_backtrace())
    }
}
