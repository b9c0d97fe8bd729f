//! Hides personal data in a field.

use super::convert::texts_of;
use super::hash::digest;
use super::{Compute, Computed, Misfit, Op, find};
use crate::error::RunError;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use shared::models::node::{HashAlgorithm, MaskStrategy};
use std::sync::Arc;

/// Characters at the end that `partial` shows.
const SHOWN: usize = 4;

#[derive(Debug)]
struct Mask {
    place: usize,
    strategy: MaskStrategy,
}

pub(super) fn build(schema: &SchemaRef, field: &str, strategy: MaskStrategy) -> Result<Box<dyn Op>, String> {
    let (place, _) = find(schema, field)?;
    Computed::boxed(schema, vec![(field, DataType::Utf8)], Mask { place, strategy })
}

impl Compute for Mask {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let masked = texts.iter().map(|text| {
            let text = text?;
            Some(match self.strategy {
                MaskStrategy::Redact => "***".to_owned(),
                MaskStrategy::Partial => partial(text),
                MaskStrategy::Hash => digest(HashAlgorithm::Sha256, "", text),
            })
        });
        Ok(vec![Arc::new(masked.collect::<StringArray>())])
    }
}

/// All but the last four characters as `*`; of an address, all but the first one and the domain. A text of four
/// characters or less is hidden whole.
fn partial(text: &str) -> String {
    if let Some((local, domain)) = text.rsplit_once('@')
        && domain.contains('.')
        && let Some(first) = local.chars().next()
    {
        let hidden = "*".repeat(local.chars().count().saturating_sub(1).max(1));
        return format!("{first}{hidden}@{domain}");
    }
    let count = text.chars().count();
    let hidden = if count > SHOWN { count - SHOWN } else { count };
    text.chars().enumerate().map(|(at, c)| if at < hidden { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::partial;

    #[test]
    fn partial_shows_the_end_of_a_text_and_the_domain_of_an_address() {
        assert_eq!(partial("4111111111111111"), "************1111");
        assert_eq!(partial("ärger"), "*rger");
        assert_eq!(partial("1234"), "****");
        assert_eq!(partial("jane.doe@example.org"), "j*******@example.org");
        assert_eq!(partial("j@example.org"), "j*@example.org");
        assert_eq!(partial(""), "");
    }
}
