//! The errors of SQS by the names that AWS gives them, as the JSON protocol writes them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What went wrong, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqsError {
    /// The shape's name in the JSON protocol, such as `QueueDoesNotExist`.
    pub shape: &'static str,
    /// The code of the older query protocol, which SDKs still match on.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Whether the request is at fault, rather than this server.
    pub is_senders: bool,
}

impl SqsError {
    fn sender(shape: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { shape, code, message: message.into(), is_senders: true }
    }

    /// A queue that is not there.
    pub fn no_queue(name: &str) -> Self {
        Self::sender(
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
            format!("The specified queue does not exist: {name:?}."),
        )
    }

    /// A queue of that name exists with other attributes.
    pub fn queue_exists(name: &str, attribute: &str) -> Self {
        Self::sender(
            "QueueNameExists",
            "QueueAlreadyExists",
            format!("A queue already exists with the name {name:?} and another value of {attribute}."),
        )
    }

    /// A receipt handle that this server never gave.
    pub fn receipt_handle() -> Self {
        Self::sender("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
    }

    /// The visibility of a message that nobody has received, or that became visible again.
    pub fn not_in_flight() -> Self {
        Self::sender(
            "MessageNotInflight",
            "AWS.SimpleQueueService.MessageNotInflight",
            "The specified message isn't in flight.",
        )
    }

    /// A parameter with a value that is not allowed.
    pub fn parameter(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::sender(
            "InvalidParameterValueException",
            "InvalidParameterValue",
            format!("Value {value} for parameter {name} is invalid. Reason: {reason}"),
        )
    }

    /// A parameter that is not there.
    pub fn missing(name: &str) -> Self {
        Self::sender(
            "MissingRequiredParameterException",
            "MissingParameter",
            format!("The request must contain the parameter {name}."),
        )
    }

    /// A body with characters that SQS refuses.
    pub fn contents() -> Self {
        Self::sender(
            "InvalidMessageContents",
            "InvalidMessageContents",
            "The message contains characters outside the allowed set.",
        )
    }

    /// An attribute of a queue that is unknown or may not be set.
    pub fn attribute_name(name: &str) -> Self {
        Self::sender("InvalidAttributeName", "InvalidAttributeName", format!("Unknown Attribute {name}."))
    }

    /// An attribute of a queue with a value that is not allowed.
    pub fn attribute_value(name: &str, reason: &str) -> Self {
        Self::sender(
            "InvalidAttributeValue",
            "InvalidAttributeValue",
            format!("Invalid value for the parameter {name}. Reason: {reason}"),
        )
    }

    /// A batch without entries.
    pub fn empty_batch() -> Self {
        Self::sender(
            "EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one entry in the request.",
        )
    }

    /// A batch with more than ten entries.
    pub fn large_batch(count: usize) -> Self {
        Self::sender(
            "TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are 10. You have sent {count}."),
        )
    }

    /// A batch whose bodies are together too long.
    pub fn long_batch(limit: usize, sent: usize) -> Self {
        Self::sender(
            "BatchRequestTooLong",
            "AWS.SimpleQueueService.BatchRequestTooLong",
            format!("Batch requests cannot be longer than {limit} bytes. You have sent {sent} bytes."),
        )
    }

    /// Two entries of a batch with one id.
    pub fn repeated_id(id: &str) -> Self {
        Self::sender(
            "BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            format!("Id {id} repeated."),
        )
    }

    /// An entry's id that is not 1 to 80 letters, digits, hyphens and underscores.
    pub fn batch_id() -> Self {
        Self::sender(
            "InvalidBatchEntryId",
            "AWS.SimpleQueueService.InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        )
    }

    /// Something that SQS has and this server does not.
    pub fn unsupported(what: &str) -> Self {
        Self::sender(
            "UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation",
            format!("{what} is not supported by the local queue."),
        )
    }

    /// A request that is not JSON, or not of the action's shape.
    pub fn serialization(reason: impl std::fmt::Display) -> Self {
        Self::sender("SerializationException", "MalformedInput", format!("The request cannot be read: {reason}."))
    }

    /// A failure of this server; the cause is logged.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "the local queue failed");
        Self {
            shape: "InternalFailure",
            code: "InternalFailure",
            message: "The local queue failed; its log says why.".to_owned(),
            is_senders: false,
        }
    }
}

impl From<rusqlite::Error> for SqsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for SqsError {
    fn into_response(self) -> Response {
        let (status, fault) = match self.is_senders {
            true => (StatusCode::BAD_REQUEST, "Sender"),
            false => (StatusCode::INTERNAL_SERVER_ERROR, "Receiver"),
        };
        let body =
            serde_json::json!({ "__type": format!("com.amazonaws.sqs#{}", self.shape), "message": self.message });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::http::CONTENT_TYPE));
        if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", self.code)) {
            headers.insert("x-amzn-query-error", value);
        }
        response
    }
}
