//! What a message may hold, and the checksums by which clients check it.

use super::attributes::MAX_MESSAGE_BYTES;
use super::error::SqsError;
use super::rows::Outgoing;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A message as `SendMessage` and an entry of `SendMessageBatch` give it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Draft {
    /// The text.
    pub message_body: Option<String>,
    /// Seconds for which it stays hidden.
    pub delay_seconds: Option<u32>,
    /// The sender's own attributes, in the order in which their checksum takes them.
    #[serde(default)]
    pub message_attributes: Option<BTreeMap<String, Attribute>>,
}

/// One of the sender's own attributes.
#[derive(Debug, Clone, serde::Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with a suffix of the sender's.
    pub data_type: String,
    /// The value of a `String` or `Number`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// A message that may be sent, with its checksums and its size in bytes.
#[derive(Debug)]
pub struct Checked {
    /// What is kept.
    pub outgoing: Outgoing,
    /// MD5 of the body, in hexadecimal.
    pub body_md5: String,
    /// MD5 of the attributes, in hexadecimal.
    pub attributes_md5: Option<String>,
    /// Bytes of body and attributes.
    pub size: usize,
}

impl Draft {
    /// Checks the message against `limit` bytes.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidMessageContents`, `InvalidParameterValue`.
    pub fn check(self, limit: usize) -> Result<Checked, SqsError> {
        let body = self.message_body.filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| SqsError::missing("MessageBody"))?;
        if !body.chars().all(is_allowed) {
            return Err(SqsError::contents());
        }
        if let Some(delay) = self.delay_seconds.filter(|delay| *delay > 900) {
            return Err(SqsError::parameter("DelaySeconds", delay, "DelaySeconds must be >= 0 and <= 900."));
        }
        let attributes = self.message_attributes.unwrap_or_default();
        let mut size = body.len();
        for (name, attribute) in &attributes {
            size += name.len() + attribute.data_type.len() + attribute.bytes(name)?.1.len();
        }
        let limit = limit.min(MAX_MESSAGE_BYTES);
        if size > limit {
            let reason = format!("One or more parameters are invalid: the message must be shorter than {limit} bytes.");
            return Err(SqsError::parameter("MessageBody", format!("of {size} bytes"), &reason));
        }
        let (attributes_md5, attributes) = match attributes.is_empty() {
            true => (None, None),
            false => {
                let stored = serde_json::to_string(&attributes).map_err(SqsError::internal)?;
                (Some(attributes_md5(&attributes)?), Some(stored))
            }
        };
        let body_md5 = md5_hex(body.as_bytes());
        Ok(Checked {
            outgoing: Outgoing { body, attributes, delay: self.delay_seconds },
            body_md5,
            attributes_md5,
            size,
        })
    }
}

impl Attribute {
    /// How the checksum marks the kind of value, and the value's bytes.
    fn bytes(&self, name: &str) -> Result<(u8, Vec<u8>), SqsError> {
        let wrong = |reason: &str| SqsError::parameter("MessageAttributes", name, reason);
        match self.data_type.split('.').next() {
            Some("String" | "Number") => match &self.string_value {
                Some(text) if !text.is_empty() => Ok((1, text.clone().into_bytes())),
                _ => Err(wrong("The attribute must contain a non-empty StringValue.")),
            },
            Some("Binary") => match self.binary_value.as_ref().map(|text| STANDARD.decode(text)) {
                Some(Ok(bytes)) if !bytes.is_empty() => Ok((2, bytes)),
                _ => Err(wrong("The attribute must contain a non-empty BinaryValue in base64.")),
            },
            _ => Err(wrong("Its DataType must start with String, Number or Binary.")),
        }
    }
}

/// MD5 in hexadecimal.
pub fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The stored attributes that `names` ask for (`All`, a name, or a prefix with `.*`), and their checksum.
///
/// # Errors
/// Where what is stored cannot be read.
pub fn select_attributes(stored: &str, names: &[String]) -> Result<Option<(Value, String)>, SqsError> {
    let all: BTreeMap<String, Attribute> = serde_json::from_str(stored).map_err(SqsError::internal)?;
    let wanted = |name: &str| {
        names.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == "All" || pattern == name,
        })
    };
    let chosen: BTreeMap<String, Attribute> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        return Ok(None);
    }
    let md5 = attributes_md5(&chosen)?;
    Ok(Some((serde_json::to_value(chosen).map_err(SqsError::internal)?, md5)))
}

/// The checksum over attributes: names, types and values by name, each behind its length in four bytes.
fn attributes_md5(attributes: &BTreeMap<String, Attribute>) -> Result<String, SqsError> {
    fn add(hasher: &mut Md5, bytes: &[u8]) {
        hasher.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(bytes);
    }
    let mut hasher = Md5::new();
    for (name, attribute) in attributes {
        let (kind, value) = attribute.bytes(name)?;
        add(&mut hasher, name.as_bytes());
        add(&mut hasher, attribute.data_type.as_bytes());
        hasher.update([kind]);
        add(&mut hasher, &value);
    }
    Ok(hex::encode(hasher.finalize()))
}

/// The characters of XML 1.0, which SQS allows.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(draft: Value, limit: usize) -> Result<Checked, SqsError> {
        serde_json::from_value::<Draft>(draft).unwrap().check(limit)
    }

    #[test]
    fn the_checksums_are_those_of_the_documentation() {
        let checked = check(json!({ "MessageBody": "This is a test message" }), 1024).unwrap();
        assert_eq!(checked.body_md5, "fafb00f5732ab283681e124bf8747ed1");
    }

    #[test]
    fn the_size_counts_the_attributes_too() {
        let draft = |value: &str| json!({ "MessageBody": "x", "MessageAttributes": { "n": { "DataType": "String", "StringValue": value } } });
        assert_eq!(check(draft("abc"), 100).unwrap().size, 1 + 1 + 6 + 3);
        assert_eq!(check(draft(&"a".repeat(100)), 100).unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn control_characters_are_refused() {
        assert_eq!(check(json!({ "MessageBody": "\u{1}" }), 100).unwrap_err().shape, "InvalidMessageContents");
        assert_eq!(check(json!({ "MessageBody": "" }), 100).unwrap_err().code, "MissingParameter");
    }
}
