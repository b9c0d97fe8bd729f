//! While a run is rolled back no retry is made, which could count on rows that are about to go.

use super::super::{Store, away, key_item, refused, s};
use super::run_key;
use crate::error::{Error, Result};
use crate::models::run::Run;
use crate::models::time::Time;
use aws_sdk_dynamodb::types::ReturnValue;
use chrono::Duration;

/// How long a rollback that does not come to its end keeps retries from being made: longer than it may write.
pub const UNDOING: Duration = Duration::seconds(90);

/// What keeps retries from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undoing {
    until: Time,
    /// Whether another rollback had begun before, which may need it still.
    beside: bool,
}

/// The refusal of a retry of a run that is being rolled back.
pub(super) fn being_undone(run: &Run, until: Time) -> Error {
    Error::conflict(
        "ROLLBACK_UNDER_WAY",
        format!(
            "{}, or a run that it retries, is being rolled back; retry it once that has ended, which is at {} at the latest",
            run.id,
            until.text()
        ),
    )
}

impl Store {
    /// Keeps retries of `newest`, the last of runs that retry one another, from being made while one of them is rolled back:
    /// until [`Store::end_undoing`], or for [`UNDOING`]. None where it has been retried by now.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn begin_undoing(&self, newest: &Run, now: Time) -> Result<Option<Undoing>> {
        let until = Time(now.0 + UNDOING);
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(newest))))
            .update_expression("SET undoingUntil = :until")
            .condition_expression("attribute_exists(PK) AND attribute_not_exists(retriedBy)")
            .expression_attribute_values(":until", s(until.text()))
            .return_values(ReturnValue::UpdatedOld);
        match update.send().await {
            Ok(answer) => {
                let before = answer.attributes.unwrap_or_default().remove("undoingUntil");
                let beside = before.is_some_and(|before| before.as_s().is_ok_and(|before| *before >= now.text()));
                Ok(Some(Undoing { until, beside }))
            }
            Err(error) if refused(&error) => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    /// Lets retries be made again: after a rollback that is `done` in any case, since no other one of the same run has
    /// anything left to do then; after one that was refused only where no other one may be under way.
    ///
    /// # Errors
    /// Where the table does not answer; retries can then be made after [`UNDOING`].
    pub async fn end_undoing(&self, newest: &Run, undoing: Undoing, done: bool) -> Result<()> {
        if undoing.beside && !done {
            return Ok(());
        }
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(newest))))
            .update_expression("REMOVE undoingUntil");
        let update = if done {
            update.condition_expression("attribute_exists(PK)")
        } else {
            // Another one may have begun since.
            let own = s(undoing.until.text());
            update.condition_expression("undoingUntil = :until").expression_attribute_values(":until", own)
        };
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }
}
