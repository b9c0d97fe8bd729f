//! The rejected rows of what goes to databases: they are kept beside the table of the pipeline's schema, which another target
//! may write, or none.

use crate::engine::job::TableSchema;
use crate::error::RunError;
use crate::life::Worker;
use crate::settle::{ASKED, in_time};
use crate::targets::{Settled, rejected};
use crate::{job, targets};
use shared::models::pipeline::Pipeline;
use shared::models::run::Run;

/// What becomes of them where a run is settled. All targets whose rejected rows are kept there are heard before.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// None where no target is in a database.
    schema: Option<TableSchema>,
    /// Whether one of these targets has the run's rows, or may have: what it rejected is kept.
    has_rows: bool,
}

impl Beside {
    /// Those of a pipeline, before its targets are asked.
    pub(crate) async fn of(worker: &Worker, version: &Pipeline) -> Result<Self, RunError> {
        Ok(Self { schema: job::of_databases(worker, version).await?, has_rows: false })
    }

    /// Whether they are kept beside the table of `schema`, with those that are rejected on their way there.
    pub(crate) fn is_at(&self, schema: &TableSchema) -> bool {
        self.schema.as_ref().is_some_and(|own| own.id == schema.id)
    }

    /// Hears what one of the targets says, and answers whether what the run was to bring is there. For a target that has the
    /// rows of an earlier run this one has not read, and so has rejected nothing.
    pub(crate) fn hear(&mut self, said: Result<Settled, RunError>) -> Result<bool, RunError> {
        self.has_rows |= !matches!(said, Ok(Settled::Earlier | Settled::Nothing));
        said.map(Settled::is_in)
    }

    /// Hears which of the targets cannot be asked any more.
    pub(crate) fn miss(&mut self, gone: &[String]) {
        self.has_rows |= !gone.is_empty();
    }

    /// What they are called, for messages.
    pub(crate) fn name(&self) -> String {
        self.schema.as_ref().map(|schema| rejected::schema(schema).name).unwrap_or_default()
    }

    /// Settles them, as what was heard says.
    pub(crate) async fn settle(&self, worker: &Worker, run: &Run) -> Result<(), RunError> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let settled = targets::settle_rejected(&run.tenant_id, schema, &run.id, self.has_rows, &worker.settings);
        in_time(ASKED, settled).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// Whether rejected rows are kept where the targets say this.
    fn keeps(said: &[Result<Settled, RunError>]) -> bool {
        let mut beside = Beside::default();
        for said in said {
            let is_in = beside.hear(said.clone()).ok();
            assert_eq!(is_in, said.as_ref().ok().map(|settled| *settled != Settled::Nothing));
        }
        beside.has_rows
    }

    #[test]
    fn rejected_rows_are_kept_as_long_as_one_target_has_the_rows_of_their_run_or_may_have() {
        let silent = || Err(RunError::new(Kind::TargetUnavailable, "it does not answer"));
        assert!(keeps(&[Ok(Settled::Nothing), Ok(Settled::Own)]) && keeps(&[Ok(Settled::Own), Ok(Settled::Earlier)]));
        assert!(keeps(&[silent(), Ok(Settled::Nothing)]));
        // What an earlier run has brought was not read for again.
        assert!(!keeps(&[Ok(Settled::Earlier), Ok(Settled::Nothing)]) && !keeps(&[Ok(Settled::Nothing)]));
        let mut beside = Beside::default();
        beside.miss(&[]);
        assert!(!beside.has_rows);
        beside.miss(&["a table of a database".to_owned()]);
        assert!(beside.has_rows);
    }
}
